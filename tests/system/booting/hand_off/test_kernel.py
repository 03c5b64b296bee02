"""What a kernel finds when it is entered: devicetree, initial files, and room for them."""

import shutil
import struct
import subprocess

import pytest

from ffabric.firmware.state.endpoints import vm_of
from ffabric.system.booting.boot import boot
from ffabric.system.booting.hand_off import kernel
from ffabric.system.description.python import describe, vm
from ffabric.system.description.toml.system import read_system
from ffabric.system.files.dtb import parse_dtb
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import DeviceSpec, KernelBoot

BASE = 0x4000_0000
CODE = bytes(range(64)) * 4


def image(size):
    """A raw kernel image that takes `size` bytes of memory."""
    head = bytearray(64)
    struct.pack_into("<Q", head, 16, size)
    head[56:60] = b"ARM\x64"
    return bytes(head)


def system(boot, *, code=CODE, cpus=1, **more):
    guest = vm("linux", image=code, engine="qemu", kernel=boot, vcpus=cpus, **more)
    return describe(vms=[guest], hypervisor=False, pes=cpus)


def tree_of(spec):
    layout = kernel.Layout(spec.vms[0], spec.mpidrs)
    return parse_dtb(layout.files[0][1]).root, layout


def test_devicetree_and_files_lie_at_the_end_of_the_ram():
    spec = system(KernelBoot(b"i" * 5000, "console=ttyAMA0"))
    tree, layout = tree_of(spec)
    ram = spec.vms[0].memory[0]
    assert ram.ipa == ram.pa == BASE
    assert layout.devicetree == ram.ipa + ram.size - 0x20_0000
    assert layout.initrd == layout.devicetree - 0x2000
    assert layout.files[1] == (layout.initrd, b"i" * 5000)
    chosen = tree.child("chosen")
    assert chosen.string("bootargs") == "console=ttyAMA0"
    assert chosen.u64("linux,initrd-start") == layout.initrd
    assert chosen.u64("linux,initrd-end") == layout.initrd + 5000
    assert tree.child("memory@40000000").cells("reg") == (0, BASE, 0, ram.size)


def test_without_files_there_is_no_word_of_them():
    tree, _ = tree_of(system(KernelBoot()))
    assert "linux,initrd-start" not in tree.child("chosen").props


def test_cpus_are_numbered_as_qemu_numbers_them():
    spec = system(KernelBoot(), cpus=3)
    assert spec.mpidrs == (0, 1, 2)
    tree, _ = tree_of(spec)
    cpus = tree.child("cpus").children
    assert [cpu.u32("reg") for cpu in cpus] == [0, 1, 2]
    assert {cpu.string("enable-method") for cpu in cpus} == {"psci"}
    assert tree.child("intc@8000000").cells("reg")[6:] == (0, 3 * 0x2_0000)


def test_dtc_understands_the_tree(tmp_path):
    if shutil.which("dtc") is None:
        pytest.fail("no dtc: apt-get install device-tree-compiler")
    _, layout = tree_of(system(KernelBoot(b"x", "quiet"), cpus=2))
    blob = tmp_path / "virt.dtb"
    blob.write_bytes(layout.files[0][1])
    checked = subprocess.run(
        ["dtc", "-I", "dtb", "-O", "dts", blob], check=True, capture_output=True, text=True
    )
    assert 'compatible = "arm,gic-v3"' in checked.stdout
    assert checked.stderr == ""


def linux(**options):
    return vm(name="linux", image=CODE, engine="qemu", kernel=KernelBoot(), **options)


def test_each_vm_under_a_hypervisor_has_a_bank_of_its_own():
    spec = describe(vms=[linux(), linux(mem_size=512 << 20)])
    assert spec.pes == 3
    pieces = [each.memory for each in spec.vms]
    assert [[(each.ipa, each.size) for each in vm] for vm in pieces] == [
        [(0x4000_0000, 256 << 20)],
        [(0x4000_0000, 512 << 20)],
    ]
    banks = {bank.base: bank.size for bank in spec.memory}
    assert [banks[vm[0].pa] for vm in pieces] == [256 << 20, 512 << 20]


def test_a_kernel_is_told_of_op_tee():
    plain, optee, notifying = (
        kernel.platform(KernelBoot(), ram=(0, 1 << 30), mpidrs=[0], initrd=0, optee=node)
        for node in (None, kernel.optee_node(), kernel.optee_node(219))
    )
    assert plain.child("firmware") is None
    (node,) = optee.child("firmware").children
    assert (node.string("compatible"), node.string("method")) == ("linaro,optee-tz", "smc")
    assert "interrupts" not in node.props
    (node,) = notifying.child("firmware").children
    assert node.cells("interrupts") == (0, 187, 1)


@pytest.mark.parametrize(
    ("described", "problem"),
    [
        (lambda: system(KernelBoot(), code=image(64 << 20), mem_size=32 << 20), "do not fit"),
        (lambda: system(KernelBoot(), cpus=17), "17 vCPUs: QEMU's machine has 16"),
    ],
)
def test_what_cannot_be_is_said(described, problem):
    with pytest.raises(SystemErrors, match=problem):
        described()


NODES = """
[[vm]]
name = "guest"
image = "guest.bin"
bootargs = "console=ttyAMA0 quiet"
vcpus = 2
[vm.properties.device-regions.uart]
base-address = 0x1c090000
pages-count = 1
attributes = 3
[[device]]
type = "pl011"
name = "uart0"
base = 0x1c090000
interrupt = 37
"""
# x0 is the devicetree; store its magic where the test finds it, and wait
MAGIC = struct.pack("<5I", 0xB9400001, 0x100F7FE2, 0xF9000041, 0xD503207F, 0x17FFFFFF)


def guest(tmp_path, body, code=CODE):
    (tmp_path / "guest.bin").write_bytes(code)
    (tmp_path / "system.toml").write_text(body)
    return read_system(tmp_path / "system.toml")


def test_an_image_under_a_hypervisor_finds_a_devicetree_of_its_own(tmp_path):
    spec = guest(tmp_path, NODES)
    with boot(spec) as booted:
        (vm_spec,) = spec.vms
        at = vm_of(booted.endpoint("guest").partition).boot_information
        tree = parse_dtb(booted.endpoint("guest").memory.read(at, 4096)).root
    ram, size = vm_spec.memory[0].ipa, sum(piece.size for piece in vm_spec.memory)
    assert ram <= at < ram + size
    assert tree.child("chosen").string("bootargs") == "console=ttyAMA0 quiet"
    assert tree.child("chosen").string("stdout-path") == "/pl011@1c090000"
    assert tree.child("psci").string("method") == "hvc"
    assert tree.child("intc@2f000000").cells("reg")[4:6] == (0, 0x2F10_0000)
    assert tree.child("pl011@1c090000").cells("interrupts") == (0, 5, 4)
    assert len(tree.child("cpus").children) == 2
    assert tree.child(f"memory@{ram:x}").cells("reg") == (0, ram, 0, size)


def test_an_image_without_a_hypervisor_calls_psci_with_smc(tmp_path):
    spec = guest(tmp_path, "hypervisor = false\n" + NODES.replace("vcpus = 2\n", ""))
    board = kernel.board_of(spec, spec.vms[0])
    assert (board.gic, board.conduit, board.devices) == (spec.gic, "smc", ())
    assert (board.console.base, board.console.interrupt) == (0x1C09_0000, 37)


def serial(interrupt):
    """A VM in QEMU that has a PL011 of ours."""
    uart = DeviceSpec(
        type="pl011", name="uart2", base=0x1C0A_0000, size=0x1000, interrupt=interrupt,
        secure=False,
    )  # fmt: skip
    line = Interrupt(id=interrupt, attributes=1 << 9)
    region = DeviceRegion(
        name="uart2", base_address=uart.base, pages=1, attributes=3, interrupts=(line,)
    )
    entered = KernelBoot(b"", "")
    guest = vm(name="linux", image=CODE, engine="qemu", kernel=entered, device_regions=(region,))
    return describe(vms=[guest], devices=[uart])


def test_a_vm_in_qemu_is_told_of_the_serial_ports_that_are_ours():
    spec = serial(60)
    board = kernel.board_of(spec, spec.vms[0])
    assert board.console == kernel.VIRT.console
    assert board.devices == spec.devices
    layout = kernel.Layout(spec.vms[0], spec.mpidrs, None, board)
    tree = parse_dtb(layout.files[0][1]).root
    assert tree.child("pl011@1c0a0000").cells("interrupts") == (0, 28, 4)
    assert tree.child("chosen").string("stdout-path") == "/pl011@9000000"


def test_no_device_of_a_vm_in_qemu_has_the_interrupt_of_its_console():
    with pytest.raises(SystemErrors, match="uart2: interrupt 33 is that of its console"):
        serial(33)


def test_an_image_that_may_not_reach_the_uart_is_not_told_of_it(tmp_path):
    start, end = NODES.index("[vm.properties"), NODES.index("[[device]]")
    spec = guest(tmp_path, NODES[:start] + NODES[end:])
    assert kernel.board_of(spec, spec.vms[0]).console is None
    layout = kernel.Layout(spec.vms[0], spec.mpidrs, None, kernel.board_of(spec, spec.vms[0]))
    tree = parse_dtb(layout.files[0][1]).root
    assert "stdout-path" not in tree.child("chosen").props


def test_an_image_that_is_no_kernel_finds_none(tmp_path):
    spec = guest(tmp_path, '[[vm]]\nname = "guest"\nimage = "guest.bin"\n')
    assert spec.vms[0].kernel is None
    with boot(spec) as booted:
        assert vm_of(booted.endpoint("guest").partition).boot_information == 0


def test_its_address_is_in_x0(tmp_path):
    spec = guest(tmp_path, NODES, MAGIC + bytes(0x2_0000))
    with boot(spec) as booted:
        booted.run()
        ram = spec.vms[0].memory[0].ipa
        assert booted.endpoint("guest").memory.read(ram + 0x1_F000, 4) == b"\xd0\x0d\xfe\xed"


def test_a_kernel_that_is_a_hypervisor_finds_what_one_needs():
    """The maintenance interrupt of the GIC's virtual interface, and processors with VHE."""
    for el, interrupt, cpu in ((1, None, "arm,cortex-a57"), (2, (1, 9, 4), "arm,neoverse-n1")):
        spec = system(KernelBoot(), el=el)
        board = kernel.board_of(spec, spec.vms[0])
        tree = parse_dtb(kernel.Layout(spec.vms[0], spec.mpidrs, board=board).files[0][1]).root
        gic = tree.child("intc@8000000")
        found = gic.cells("interrupts") if "interrupts" in gic.props else None
        assert found == interrupt
        assert tree.child("cpus").children[0].string("compatible") == cpu
