"""A trusted OS in QEMU: what its machine can place, and what cannot be."""

import pytest
from msgspec.structs import replace

from ffabric.system.description.python import describe, trusted_os, vm
from ffabric.system.description.toml.system import read_system
from ffabric.system.manifest.manifest import DeviceRegion
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import MemoryBank

CODE = bytes(4096)
MIB16 = 0x0100_0000
HAS_SECURE = "QEMU's machine has secure memory at 0xe000000-0xeffffff"
SECURE = MemoryBank("tz", 0x0600_0000, 0x0A00_0000, secure=True)
NORMAL = MemoryBank("normal", 0x4000_0000, 0x4000_0000, secure=False)


def system(*banks, **options):
    tee = trusted_os(name="tee", image=CODE, engine="qemu", **options)
    return describe(vms=["client"], trusted_os=tee, memory=banks)


def errors(*banks, **options):
    with pytest.raises(SystemErrors) as found:
        system(*banks, **options)
    return [str(problem) for problem in found.value.problems]


def test_it_has_the_secure_memory_that_the_machine_has():
    spec = system().trusted_os
    assert spec.engine == "qemu"
    assert (spec.memory[0].pa, spec.memory[0].size) == (0x0E00_0000, 0x0100_0000)


def test_it_has_what_is_above_its_load_address():
    spec = system(SECURE, NORMAL, load_address=0x0E10_0000).trusted_os
    assert (spec.entry, spec.memory[0].size) == (0x0E10_0000, 0x00F0_0000)


def test_its_devicetree_is_where_it_sees_memory():
    spec = system()
    place = next(each for each in spec.trusted_os.memory if each.name == "devicetree")
    assert any(bank.base <= place.pa < bank.end for bank in spec.memory if not bank.secure)
    assert place.pa >= 0x4000_0000


def test_every_mistake_is_told():
    low = MemoryBank("low", 0x2000_0000, 0x0010_0000, secure=False)
    high = MemoryBank("high", 0x3F_FFF0_0000, 0x0010_0000, secure=False)
    has = "QEMU's machine, with the trusted OS, has non-secure memory at 0x40000000-0x3ffdffffff"
    place = {"load_address": 0x0D00_0000, "mem_size": MIB16}
    assert errors(SECURE, NORMAL, **place) == [
        f"tee: load_address: 0xd000000-0xdffffff: {HAS_SECURE}"
    ]
    assert errors(SECURE, low, NORMAL, high, **place) == [
        f"[[memory]] low: base: 0x20000000-0x200fffff: {has}",
        f"[[memory]] high: base: 0x3ffff00000-0x3fffffffff: {has}",
    ]


def test_it_is_too_long_for_the_secure_memory():
    found = errors(SECURE, NORMAL, load_address=0x0E10_0000, mem_size=MIB16)
    assert found == [f"tee: load_address: 0xe100000-0xf0fffff: {HAS_SECURE}"]


def test_there_are_too_many_pieces():
    banks = [
        MemoryBank(f"bank{n}", 0x8000_0000 + n * 0x40_0000, 0x20_0000, secure=False)
        for n in range(64)
    ]
    (found,) = errors(SECURE, NORMAL, *banks)
    assert found == "tee: engine: 129 banks and gaps of memory: QEMU's machine has up to 128"


def test_only_a_trusted_os_has_an_spi_for_its_notifications():
    assert system(notification_interrupt=219).trusted_os.notification_interrupt == 219
    (found,) = errors(notification_interrupt=31)
    assert found.startswith("tee: notification_interrupt: 31 is no SPI: they are 32 to 1019")
    with pytest.raises(SystemErrors, match="a trusted OS has one, nobody else"):
        describe(vms=[replace(vm("client"), notification_interrupt=219)])


def vm_errors(*banks, **options):
    with pytest.raises(SystemErrors) as found:
        describe(vms=[vm("guest", image=CODE, engine="qemu", **options)], memory=banks)
    return [str(problem) for problem in found.value.problems]


def test_vms_have_memory_where_no_qemu_writes_when_it_starts():
    low = MemoryBank("low", 0x4000_0000, 0x0400_0000, secure=False)
    (found,) = vm_errors(SECURE, low)
    told = "QEMU puts a devicetree at 0x40000000 whenever it starts: begin at 0x40100000"
    assert found == f"[[memory]] low: base: 0x40000000: {told}"
    higher = MemoryBank("higher", 0x4010_0000, 0x0400_0000, secure=False)
    spec = describe(vms=[vm("guest", image=CODE, engine="qemu")], memory=[SECURE, higher])
    assert spec.vms[0].engine == "qemu"


def test_a_vm_has_devices_where_the_gic_and_the_console_of_qemus_machine_are_not():
    def region(base):
        return DeviceRegion(name="rtc", base_address=base, pages=1, attributes=3)

    (found,) = vm_errors(device_regions=(region(0x0900_0000),))
    assert "overlaps" in found
    assert "its console (0x9000000-0x9000fff)" in found
    (found,) = vm_errors(load_address=0x0900_0000)
    assert "overlaps its console (0x9000000-0x9000fff)" in found
    assert describe(vms=[vm("guest", image=CODE, engine="qemu", load_address=0x1000_0000)])
    assert describe(
        vms=[vm("guest", image=CODE, engine="qemu", device_regions=(region(0x0902_0000),))]
    )


def test_python_code_does_not_run_there():
    class Tee:
        name = "tee"

    with pytest.raises(SystemErrors, match="'qemu' does not run Python code"):
        describe(vms=["client"], trusted_os=trusted_os(Tee(), engine="qemu"))  # type: ignore[arg-type]


def test_vms_have_a_vcpu_on_each_pe_with_a_trusted_os_in_qemu():
    tee = trusted_os(name="tee", image=CODE, engine="qemu", vcpus=2)
    spec = describe(vms=[vm(name="client", image=CODE, vcpus=2)], trusted_os=tee)
    assert spec.mpidrs == (0, 1)


def test_it_is_one_line_of_a_system_file(tmp_path):
    (tmp_path / "tee.bin").write_bytes(CODE)
    (tmp_path / "system.toml").write_text(
        """
        [trusted_os]
        name = "tee"
        image = "tee.bin"
        engine = "qemu"

        [[vm]]
        name = "client"
        image = "tee.bin"
        """
    )
    spec = read_system(tmp_path / "system.toml").trusted_os
    assert (spec.engine, spec.kernel, spec.entry) == ("qemu", None, 0x0E00_0000)
