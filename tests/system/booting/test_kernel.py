"""What a kernel finds when it is entered: devicetree, initial files, and room for them."""

import shutil
import struct
import subprocess

import pytest

from ffabric.system.booting import kernel
from ffabric.system.description.python import describe, vm
from ffabric.system.files.dtb import parse_dtb
from ffabric.system.files.images import parse_image
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import ImageSource, KernelBoot

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


def test_an_image_takes_what_its_header_says():
    assert kernel.image_size(image(0x250_0000)) == 0x250_0000
    assert kernel.image_size(CODE) == len(CODE)


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


def test_room_is_for_image_files_and_devicetree():
    source = ImageSource("vmlinuz", parse_image(image(0x250_0000)))
    assert kernel.room(source, KernelBoot(b"i" * 4097)) == 0x250_0000 + 0x2000 + 0x20_0000


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
        (lambda: system(KernelBoot(), cpus=17), "17 PEs: QEMU's machine has 16"),
    ],
)
def test_what_cannot_be_is_said(described, problem):
    with pytest.raises(SystemErrors, match=problem):
        described()
