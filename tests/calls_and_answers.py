"""Keeps account of a run as its events tell it: who has which PE, and who waits for an answer.

What must hold of every trace from the beginning of a run:

- an answer goes to the context that made the call, once; a call that its context leaves for good
  (it begins again, or EL3 enters it at a vector) has none;
- a context that calls, idles, faults, crashes or uses its slice up has the PE and no call open;
- a PE goes over to another context with an answer or without one, and either is recorded.
"""

from collections import Counter
from typing import ClassVar

from ffabric.firmware.state.events import Enter, Preempt
from ffabric.machine.events import (
    Abort,
    Call,
    ContextEvent,
    Crash,
    Idle,
    Resume,
    Return,
    Slice,
    Start,
)
from ffabric.observe.lines import Header


class Wrong(AssertionError):  # noqa: N818 - what an assertion says
    """A trace that no run leaves."""


class Account:
    """A tracer that raises `Wrong`; ``inner`` hears the same."""

    def __init__(self, inner=None):
        self.inner = inner
        self.open = {}
        """Context -> its call that waits for the answer."""
        self.running = {}
        """PE -> the context that executes there."""
        self.answers = {}
        """Context -> registers of its answers, in order."""
        self.kinds = Counter()

    def record(self, event):
        if self.inner is not None:
            self.inner.record(event)
        self.kinds[type(event)] += 1
        if isinstance(event, ContextEvent):
            for kind, judge in self.JUDGES.items():
                if isinstance(event, kind):
                    judge(self, event, (event.endpoint, event.vcpu))

    def _executes(self, event, who):
        if self.running.get(event.pe) != who:
            raise Wrong(f"{event}: the PE runs {self.running.get(event.pe)}")
        if who in self.open:
            raise Wrong(f"{event}: waits for the answer to {self.open[who]}")

    def _stops(self, event, who):
        self._executes(event, who)
        del self.running[event.pe]

    def _call(self, event, who):
        self._executes(event, who)
        self.open[who] = event

    def _return(self, event, who):
        if self.open.pop(who, None) is None:
            raise Wrong(f"{event}: an answer to nothing")
        self._goes_on(event, who)
        self.answers.setdefault(who, []).append(event.x)

    def _resume(self, event, who):
        if who in self.open:
            raise Wrong(f"{event}: goes on without the answer to {self.open[who]}")
        if self.running.get(event.pe) == who:
            raise Wrong(f"{event}: it executes already")
        self._goes_on(event, who)

    def _goes_on(self, event, who):
        """Who goes on here does not execute elsewhere any more."""
        self.running = {pe: other for pe, other in self.running.items() if other != who}
        self.running[event.pe] = who

    def _begins(self, event, who):
        self.open.pop(who, None)
        if self.running.get(event.pe) == who:
            del self.running[event.pe]

    JUDGES: ClassVar = {
        Call: _call,
        Return: _return,
        Resume: _resume,
        Start: _begins,
        Enter: _begins,
        **dict.fromkeys((Slice, Abort), _executes),
        **dict.fromkeys((Idle, Preempt, Crash), _stops),
    }


def keep(lines):
    """The accounts of a trace that is written, one of each run in it."""
    accounts = []
    for line in lines:
        if isinstance(line, Header):
            accounts.append(Account())
        else:
            accounts[-1].record(line)
    return accounts
