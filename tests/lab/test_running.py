"""How runs end."""

import os
import signal

import pytest

from ffabric.abi import psci
from ffabric.firmware.state.events import Console
from ffabric.guests.partition import Partition
from ffabric.lab.running import End, run_to_end, totals
from ffabric.observe.live import LiveTrace
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, vm
from ffabric.system.manifest.manifest import DeviceRegion
from ffabric.system.spec import DeviceSpec
from ffabric.system.system import System as Booted

SHORT = 0.02


class Spinner(Partition):
    async def main(self, ffa):
        while True:
            pass


class Stubborn(Partition):
    async def main(self, ffa):
        while True:
            try:
                while True:
                    pass
            except Exception:  # noqa: BLE001
                continue


class Calls(Partition):
    async def main(self, ffa):
        while True:
            await ffa.yield_()


class Says(Partition):
    async def main(self, ffa):
        await ffa.console_log("one\ntwo\nthr")


class Crashes(Partition):
    async def main(self, ffa):
        raise ValueError("no")


def outcome(*vms, watchdog=0, **run):
    with boot(describe(vms=vms, pes=2, **run)) as system:
        lines = []
        system.listeners.append(lambda name, line: lines.append(line))
        found = run_to_end(system, watchdog=watchdog)
        return found, system, lines


def test_nothing_can_run_any_more():
    found, _, lines = outcome(Says())
    assert found.end is End.IDLE
    assert lines == ["one", "two", "thr"]


UART = 0x1C0B_0000


class Prints(Partition):
    """Prints on a UART, and ends as it is told to."""

    def __init__(self, text, ends=None):
        super().__init__()
        self.text, self.ends = text, ends

    async def main(self, ffa):
        for byte in self.text.encode():
            ffa.memory.write(UART, bytes([byte]))
        if self.ends is not None:
            await self.ends(ffa)


async def crashes(ffa):
    raise ValueError("no")


async def powers_off(ffa):
    await ffa.call(psci.SYSTEM_OFF)


async def spins(ffa):
    while True:
        await ffa.yield_()


@pytest.mark.parametrize(
    ("ends", "end"),
    [
        (None, End.IDLE),
        (crashes, End.CRASHED),
        (powers_off, End.IDLE),
        (spins, End.OUT_OF_EVENTS),
    ],
)
@pytest.mark.parametrize("text", ["one\ntwo", "one\ntwo\n"])
def test_what_a_uart_prints_last_is_printed_though_its_line_does_not_end(text, ends, end):
    region = DeviceRegion(name="uart", base_address=UART, pages=1, attributes=3)
    uart = DeviceSpec(type="pl011", name="uart", base=UART, size=0x1000, secure=None)
    spec = describe(
        vms=[vm(Prints(text, ends), device_regions=(region,))],
        devices=[uart],
        max_events=50,
    )
    lines, seen = [], []
    with boot(spec) as system:
        system.attach(LiveTrace(system, seen.append, None))
        system.listeners.append(lambda name, line: lines.append((name, line)))
        assert run_to_end(system, watchdog=0).end is end
    assert lines == [("uart", "one"), ("uart", "two")]
    printed = [(each.partition, each.text) for each in seen if isinstance(each, Console)]
    assert printed == lines


@pytest.mark.parametrize("partition", [Spinner, Stubborn])
def test_a_partition_that_computes_without_end_is_wedged(partition):
    found, system, _ = outcome(partition(), Says(), watchdog=SHORT)
    assert found.end is End.WEDGED
    name = partition.__name__.lower()
    reason = f"{name}: Spinning: no exit within {SHORT:g} s"
    assert found.reason.startswith(f"{reason} (tests/lab/test_running.py:")
    assert [crash.name for crash in system.deaths] == [name]


def test_the_others_go_on_after_a_crash_if_that_is_wanted():
    found, system, lines = outcome(
        Spinner(), Crashes(), Says(), watchdog=SHORT, stop_on_crash=False
    )
    assert found.end is End.IDLE
    assert [crash.name for crash in system.deaths] == ["crashes", "spinner"]
    assert lines == ["one", "two", "thr"]


def test_a_partition_that_calls_without_end_uses_up_the_events():
    found, _, _ = outcome(Calls(), max_events=100)
    assert found.end is End.OUT_OF_EVENTS
    assert found.reason == "100 exits used up; calls.0 made the last one"


def test_a_console_stops_the_run():
    found, _, lines = outcome(Says(), Calls(), stop_on="two")
    assert found.end is End.STOPPED
    assert found.reason == "says has printed 'two'"
    assert lines[:2] == ["one", "two"]


@pytest.mark.parametrize("early", [False, True], ids=["in the run", "before it"])
def test_a_run_is_out_of_time_whenever_that_is_reached(monkeypatch, early):
    """Before the run, too: who starts it may have been kept from going on."""
    run = Booted.run

    def run_late(system):
        while early and system.stop_cause is None:
            os.sched_yield()
        run(system)

    monkeypatch.setattr(Booted, "run", run_late)
    with boot(describe(vms=[Calls()])) as system:
        assert run_to_end(system, timeout=0.01).end is End.OUT_OF_TIME


def test_a_person_stops_the_run():
    class Presses(Partition):
        async def main(self, ffa):
            os.kill(os.getpid(), signal.SIGINT)
            await ffa.yield_()
            while True:
                await ffa.yield_()

    found, _, _ = outcome(Presses())
    assert found.end is End.INTERRUPTED


def test_a_person_stops_a_partition_that_computes():
    class Computes(Partition):
        async def main(self, ffa):
            os.kill(os.getpid(), signal.SIGINT)
            while True:
                pass

    found, _, _ = outcome(Computes())
    assert found.end is End.INTERRUPTED


def test_the_signals_are_as_they_were_and_so_is_the_timer_of_a_test_runner():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)
    former = signal.setitimer(signal.ITIMER_REAL, 1000, 10)
    try:
        outcome(Says(), watchdog=SHORT)
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGALRM)) == before
        left, interval = signal.getitimer(signal.ITIMER_REAL)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *former)
    assert 0 < left <= 1000
    assert interval == 10


def test_the_totals_count_refusals():
    class Refused(Partition):
        async def main(self, ffa):
            await ffa.call(0x84000099)

    _, system, _ = outcome(Refused())
    assert ("refused by abi.unknown_function", "1") in totals(system)
