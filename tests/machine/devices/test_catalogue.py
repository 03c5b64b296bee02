import copy
from functools import partial

import pytest

from ffabric.machine.bus import Bus
from ffabric.machine.clock import NS_PER_TICK, Clock
from ffabric.machine.devices.catalogue import DEVICES, TYPES
from ffabric.machine.devices.description import Wiring
from ffabric.machine.gic import GROUP1NS, GROUP1S, Gic, set_up


@pytest.mark.parametrize("compatible", sorted(DEVICES))
def test_each_device_is_what_it_says(compatible):
    description = DEVICES[compatible]
    assert TYPES[description.type] is description
    frames = description.create(Wiring(clock=Clock()))
    assert len(frames) == len(description.frames) > 0
    assert description.interrupts
    bus = Bus()
    for index, (frame, device) in enumerate(zip(description.frames, frames, strict=True)):
        bus.add(index << 20, frame.size, device, secure=False)
        for offset in range(0, frame.size, 4):
            bus.write((index << 20) + offset, 4, 0xFFFF_FFFF, secure=False)
            assert 0 <= bus.read((index << 20) + offset, 4, secure=False) < 1 << 32


def test_what_is_named():
    assert sorted(DEVICES) == [
        "arm,armv7-timer-mem", "arm,pl011", "arm,sbsa-gwdt", "arm,smmu-v3", "arm,sp805",
    ]  # fmt: skip
    assert sorted(TYPES) == [
        "crypto_engine", "generic_timer", "generic_watchdog", "pl011", "smmuv3",
        "smmuv3_test_engine", "sp805", "stub",
    ]  # fmt: skip


def test_a_console_is_wired():
    lines, sent = [], []
    wiring = Wiring(clock=Clock(), on_byte=sent.append, on_line=lines.append)
    (uart,) = TYPES["pl011"].create(wiring)
    for byte in b"hi\n":
        uart.write(0, 4, byte)
    assert (lines, bytes(sent)) == (["hi"], b"hi\n")


def test_a_watchdog_has_a_frequency_of_its_own():
    clock = Clock()
    levels, resets = [], []
    wiring = Wiring(
        clock=clock, irqs=[levels.append], on_reset=lambda: resets.append(1), frequency=1000
    )
    (watchdog,) = TYPES["sp805"].create(wiring)
    watchdog.write(0x0, 4, 10)
    watchdog.write(0x8, 4, 3)
    clock.advance(10_000_000)
    assert levels == [True]
    clock.advance(10_000_000)
    assert resets == [1]


class Board:
    """The watchdogs and the timer of Arm's ACS on a GIC."""

    def __init__(self):
        self.clock = Clock()
        self.gic = Gic(1)
        set_up(self.gic, secure=[56, 58])
        self.gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=False)
        self.sp805 = self.create("sp805", 56)
        self.timer = self.create("generic_timer", 58)
        self.watchdog = self.create("generic_watchdog", 59)

    def create(self, type_, intid):
        self.gic.configure(intid, enabled=True)
        irq = partial(self.gic.set_level, intid)
        return TYPES[type_].create(Wiring(clock=self.clock, irqs=[irq]))[0]


def test_devices_interrupt_through_the_gic():
    board = Board()
    board.watchdog.write(0x8, 4, 1000)
    board.watchdog.write(0x0, 4, 1)
    board.clock.advance(1001 * NS_PER_TICK)
    assert board.gic.pending(0) == (59, GROUP1NS)
    board.timer.write(0x28, 4, 500)
    board.timer.write(0x2C, 4, 1)
    board.clock.advance(500 * NS_PER_TICK)
    assert board.gic.pending(0) == (58, GROUP1S)
    board.timer.write(0x2C, 4, 0)
    assert board.gic.pending(0) == (59, GROUP1NS)
    board.watchdog.write(0x0, 4, 0)
    assert board.gic.pending(0) is None


def test_a_copied_board_runs_apart():
    board = Board()
    board.watchdog.write(0x8, 4, 1000)
    board.watchdog.write(0x0, 4, 1)
    board.timer.write(0x28, 4, 2000)
    board.timer.write(0x2C, 4, 1)
    snapshot = copy.deepcopy(board)
    board.clock.advance(3000 * NS_PER_TICK)
    assert board.gic.pending(0) == (58, GROUP1S)
    assert snapshot.gic.pending(0) is None
    snapshot.clock.advance(1001 * NS_PER_TICK)
    assert snapshot.gic.pending(0) == (59, GROUP1NS)
