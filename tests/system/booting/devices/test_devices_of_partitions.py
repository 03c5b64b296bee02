"""What a device region of a manifest does to the machine: access, priorities, triggers, routes."""

import pytest

from ffabric import DataAbort, DeviceRegion, Interrupt, System, boot, sp
from ffabric.machine.gic import GROUP1S
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import DeviceSpec

UART = 0x1C0B_0000
INTID = 40
READ, WRITE = 1, 3
SECURE, LEVEL = 1 << 8, 1 << 9


def system(*, attributes: int = WRITE, interrupt: int = SECURE, mpidr: int | None = None) -> System:
    region = DeviceRegion(
        name="uart",
        base_address=UART,
        pages=1,
        attributes=attributes,
        interrupts=(Interrupt(INTID, interrupt, mpidr),),
    )
    uart = DeviceSpec(type="pl011", name="uart", base=UART, size=0x1000, secure=True)
    return boot(pes=4, sps=[sp("s", device_regions=(region,))], devices=[uart])


def test_a_device_that_is_read_only_cannot_be_written() -> None:
    memory = system(attributes=READ).sp("s").memory
    assert memory.read(UART + 0x18, 4)
    with pytest.raises(DataAbort):
        memory.write(UART, b"x")


def test_another_one_can() -> None:
    system().sp("s").memory.write(UART, b"x")


def test_an_interrupt_has_its_priority_and_trigger() -> None:
    bank = system(interrupt=SECURE | LEVEL | 0x48).system.machine.gic.spis
    assert bank.priority[INTID] == 0x48
    assert not bank.edge >> INTID & 1
    assert bank.group(INTID) == GROUP1S
    assert system(interrupt=SECURE).system.machine.gic.spis.edge >> INTID & 1


@pytest.mark.parametrize(("mpidr", "pe"), [(None, 0), (0, 0), (0x200, 2), (0x300, 3)])
def test_an_spi_goes_to_its_target(mpidr: int | None, pe: int) -> None:
    machine = system(mpidr=mpidr).system.machine
    assert machine.gic.routes[INTID] == machine.pes[pe].mpidr


def test_a_target_that_is_no_pe_is_refused() -> None:
    with pytest.raises(SystemErrors, match="interrupts-target: no PE has the MPIDR 0x400"):
        system(mpidr=0x400)
