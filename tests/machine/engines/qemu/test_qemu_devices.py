"""Devices of ours that guests in QEMU have, with the real QEMU: a watchdog of a VM's or an SP's."""

import shutil
from pathlib import Path

import pytest
from puppets import COMMANDS, RAM, Puppets, Result

from ffabric.machine.devices import sp805
from ffabric.system.description.python import sp
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt
from ffabric.system.spec import DeviceSpec

SERVANT = Path(__file__).parents[3] / "images" / "servant.bin"
BASE, INTID = 0x1C0F_0000, 45
LOAD, VALUE, CONTROL, INTCLR, RIS = 0x00, 0x04, 0x08, 0x0C, 0x10
PERIPHERAL_ID = 0xFE0
GICD_CTLR, GICD_ISENABLER1, GICD_ICENABLER1 = 0x0800_0000, 0x0800_0104, 0x0800_0184
GICD_ISPENDR1, GICD_ICPENDR1 = 0x0800_0204, 0x0800_0284
LONG = 0x8765_4321
LEVEL = 1 << 9
"""Of an interrupt's attributes: it is level-triggered (DEN0077A 1.2, table 5.4)."""


@pytest.fixture(autouse=True)
def qemu():
    if shutil.which("qemu-system-aarch64") is None:
        pytest.fail("no QEMU: apt-get install qemu-system-arm")


def watchdog(*, secure=False):
    return DeviceSpec(
        type="sp805",
        name="watchdog",
        base=BASE,
        size=0x1000,
        secure=secure,
        interrupt=INTID,
        options={"resets": False},
    )


def region(attributes=3):
    line = Interrupt(id=INTID, attributes=LEVEL)
    return DeviceRegion(
        name="watchdog", base_address=BASE, pages=1, attributes=attributes, interrupts=(line,)
    )


def with_device(attributes=3):
    """A VM that has the watchdog."""
    return Puppets(1, devices_of_vms=(region(attributes),), devices=[watchdog()])


def test_a_vm_reads_and_writes_its_device_with_any_register():
    with with_device() as puppets:
        ((cpu,),) = puppets.cpus
        assert cpu.do("store32", BASE + LOAD, LONG).exceptions == 0
        assert cpu.do("load32", BASE + LOAD).value == LONG  # into w27
        assert cpu.do("load32", BASE + PERIPHERAL_ID).value == 0x05
        device = puppets.system.machine.bus.find(BASE).device
        assert isinstance(device, sp805.Sp805)
        assert device.load == LONG
        both = cpu.do("load", BASE + LOAD)  # 64 bits: LOAD, and VALUE above
        assert (both.exceptions, both.value & 0xFFFF_FFFF) == (0, LONG)


def test_a_device_that_a_vm_may_only_read_is_not_written():
    with with_device(attributes=1) as puppets:
        ((cpu,),) = puppets.cpus
        assert cpu.do("store32", BASE + LOAD, LONG).aborted
        assert cpu.do("load32", BASE + LOAD).value == 0xFFFF_FFFF


def test_what_is_beside_a_device_or_executes_it_aborts():
    with with_device() as puppets:
        ((cpu,),) = puppets.cpus
        assert cpu.do("load32", BASE - 4).aborted
        assert cpu.do("load32", BASE + 0x1000).aborted
        assert cpu.do("load", BASE + 0xFFC).aborted
        assert cpu.do("execute", BASE).aborted
        assert cpu.do("load32", 0x0902_0000).aborted  # QEMU's fw_cfg


def test_an_access_that_the_syndrome_does_not_describe_aborts():
    with with_device() as puppets:
        ((cpu,),) = puppets.cpus
        pair = (0xA9400C22).to_bytes(4, "little")  # ldp x2, x3, [x1]
        ret = (0xD65F03C0).to_bytes(4, "little")
        load = (0xD2A00001 | (BASE >> 16) << 5).to_bytes(4, "little")  # movz x1, #.., lsl #16
        cpu.write(RAM + 0x10_0000, load + pair + ret)
        assert cpu.do("execute", RAM + 0x10_0000).aborted


def test_a_level_triggered_interrupt_comes_as_often_as_its_line_rises():
    with with_device() as puppets:
        ((cpu,),) = puppets.cpus
        own = 1 << INTID - 32
        cpu.do("store32", GICD_CTLR, 0x12)  # ARE_NS, EnableGrp1A
        cpu.do("store32", BASE + LOAD, 100)
        for _ in range(3):
            cpu.do("store32", GICD_ISENABLER1, own)
            cpu.do("store32", BASE + CONTROL, 1)
            assert cpu.do("interrupt", 0).value == INTID
            cpu.do("store32", GICD_ICENABLER1, own)  # it takes no others, so none is to disturb
            assert cpu.do("load32", BASE + RIS).value == 1
            while not cpu.do("load32", GICD_ISPENDR1).value & own:
                pass  # the line is still high, and that comes through the mailbox
            cpu.do("store32", BASE + CONTROL, 0)
            cpu.do("store32", BASE + INTCLR, 1)
            assert cpu.do("load32", BASE + RIS).value == 0
            cpu.do("store32", GICD_ICPENDR1, own)
            assert not cpu.do("load32", GICD_ISPENDR1).value & own


@pytest.mark.parametrize("secure", [False, True])
def test_an_sp_reaches_its_device_in_either_state(ffabric, secure):
    servant = sp(
        name="servant",
        image=SERVANT,
        engine="qemu",
        mem_size=0x40_0000,
        secure=secure,
        device_regions=(region(),),
    )
    session = ffabric.boot(sps=[servant], vms=["client"], devices=[watchdog(secure=True)])

    def do(what, *arguments):
        payload = (COMMANDS.index(what), *arguments)
        return Result(session.vm("client").ffa.direct_request("servant", *payload).payload)

    do("store32", BASE + LOAD, LONG)
    assert do("load32", BASE + LOAD).value == LONG
    device = session.system.machine.bus.find(BASE, secure=True).device
    assert device.load == LONG
