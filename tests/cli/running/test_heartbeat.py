"""What a run is at is printed if nothing else has been for a while."""

import io

import pytest

from ffabric.cli import terminal
from ffabric.cli.running import heartbeat
from ffabric.cli.running.heartbeat import Heartbeat
from ffabric.cli.terminal import Progress, Terminal


class Clock:
    """A clock of a machine whose next event is due when the test says so; wall time is the same."""

    now = 0
    action = None

    def at(self, due, action):
        self.due, self.action = due, action

    def perf_counter(self):
        return self.now / 1e9

    def go_on(self, seconds):
        until = self.now + int(seconds * 1e9)
        while self.action is not None and self.due <= until:
            self.now, action, self.action = self.due, self.action, None
            action()
        self.now = until


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(terminal, "time", clock)
    monkeypatch.setattr(heartbeat, "time", clock)
    return clock


class Run:
    """A run that is at something, and its lines."""

    def __init__(self, clock):
        self.file = io.StringIO()
        self.progress = Progress(Terminal(self.file))
        self.work: str | None = "booting"
        Heartbeat(clock, self.progress, lambda: self.work)

    @property
    def lines(self):
        return self.file.getvalue().splitlines()


def test_it_is_printed_after_two_seconds_and_then_after_twice_as_long(clock):
    run = Run(clock)
    clock.go_on(1.9)
    assert run.lines == []
    clock.go_on(100)
    assert [line.split("]")[0] for line in run.lines] == [
        "[  2.00", "[  6.00", "[ 14.00", "[ 30.00", "[ 62.00", "[ 94.00",
    ]  # fmt: skip
    assert {line.split("] ")[1] for line in run.lines} == {"booting"}


def test_who_has_printed_is_left_alone_for_two_seconds_again(clock):
    run = Run(clock)
    clock.go_on(7)
    run.progress.say("ready")
    clock.go_on(2)
    assert [line.split("] ")[1] for line in run.lines] == ["booting", "booting", "ready", "booting"]


def test_nothing_is_printed_of_who_is_at_nothing(clock):
    run = Run(clock)
    run.work = ""
    clock.go_on(10)
    assert run.lines == []
    run.work = "at work"
    clock.go_on(1)
    assert len(run.lines) == 1


def test_it_ends_with_what_it_tells_of(clock):
    run = Run(clock)
    run.work = None
    clock.go_on(10)
    assert run.lines == []
    assert clock.action is None
