"""Who watches a boot of the suite: its consoles, its calls and refusals, its limits.

What is wanted of a test that does not end is the last call that was made; of one that fails, the
last that was refused. Keeping these costs next to nothing; a whole trace is kept only if somebody
wants the logs.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Self

import msgspec

from ffabric.abi.ffa import calls
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.firmware.state.events import Refuse
from ffabric.lab.acs import leftovers
from ffabric.lab.acs.console import GOOD, Case, Console, Verdict
from ffabric.lab.running import End, Outcome, run_to_end
from ffabric.machine.events import Call, Event, Record, Return
from ffabric.observe.decoding.text import Reader
from ffabric.observe.lines import read_lines
from ffabric.observe.trace import Trace

if TYPE_CHECKING:
    from ffabric.machine.clock import Event as Deadline
    from ffabric.system.system import System


_CONSOLE = frozenset({fid.FFA_CONSOLE_LOG_32, fid.FFA_CONSOLE_LOG_64})
"""What says nothing about where a partition is."""


class Limits(msgspec.Struct, frozen=True):
    """What a test may take: virtual seconds, exits of partitions to the firmware, real seconds.

    The first two find every test that hangs, always at the same place. The last is for a machine
    in which no time passes any more: firmware that loops.
    """

    seconds: float = 2.0
    exits: int = 100_000
    real: float = 60.0


class Stuck(RuntimeError):  # noqa: N818 - a state of the run
    """A test has used up its real time."""


class Witness:
    """Watches ``system`` while the ``with`` block runs it.

    ``main`` is the partition that runs the tests, ``uart`` the console on which they report.
    ``logs`` is a folder for NAME.log, everything decoded, and NAME.jsonl, the trace. ``on_test``
    gets each test that begins. The run ends with the first test that does not pass if
    ``stop_on_failure``.
    """

    def __init__(
        self,
        system: System,
        *,
        main: str,
        uart: str,
        limits: Limits,
        logs: Path | None = None,
        name: str = "",
        on_test: Callable[[Case], object] | None = None,
        stop_on_failure: bool = False,
    ) -> None:
        self.console = Console()
        self.fate = (Verdict.HUNG, "")
        """What becomes of tests that the run never came to."""
        self._system = system
        self._machine = system.machine
        self._main = main
        self._mains = (main, uart)
        self._limits = limits
        self._logs = logs
        self._name = name
        self._on_test = on_test
        self._stop_on_failure = stop_on_failure
        self._failed = False  # a test after which there shall be no other
        self._found: list[str] = []
        self._sink: IO[bytes] | None = None
        self._trace: Trace | None = None
        self._deadline: Deadline | None = None
        self._last: tuple[str, tuple[int, ...]] | None = None
        self._late = ""
        self._alarm = False

    def __enter__(self) -> Self:
        if self._logs is not None:
            self._logs.mkdir(parents=True, exist_ok=True)
            self._sink = (self._logs / f"{self._name}.jsonl").open("wb")
            self._trace = Trace(self._system, self._sink)
        self._system.listeners.append(self._line)
        self._system.attach(self)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._trace is not None and self._sink is not None and self._logs is not None:
            self._trace.close()
            self._sink.close()
            self._write_log(self._logs)

    def run(self) -> Outcome:
        """Run the system until the suite ends, or a test exceeds its limits."""
        armed = (
            hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
        )
        former = signal.signal(signal.SIGALRM, self._expire_really) if armed else None
        timer = signal.getitimer(signal.ITIMER_REAL) if armed else (0.0, 0.0)
        self._alarm = armed
        try:
            self._arm()
            return run_to_end(self._system, watchdog=0)
        except Stuck as stuck:
            return Outcome(End.OUT_OF_EVENTS, str(stuck))
        finally:
            if armed:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, former)
                signal.setitimer(signal.ITIMER_REAL, *timer)

    def finish(self, outcome: Outcome) -> None:
        """The run has ended: a test that was running gets its verdict."""
        if self.console.ended:
            self.fate = Verdict.NOT_RUN, "the suite ended without it"
            return
        crash = next((each for each in self._system.deaths if each.name == self._main), None)
        if crash is not None:
            verdict, why = Verdict.CRASHED, f"{crash.name} crashed: {crash.reason}"
        else:
            verdict = Verdict.HUNG
            why = f"hung ({self._late or outcome.said}): {self._last_call()}"
        self.fate = verdict, why
        self.console.stop(verdict, why, self._machine.clock.now)

    # What the run tells (the Tracer protocol).

    def record(self, event: Event) -> None:
        """Keep the last call and the last refusal, and the trace if it is wanted."""
        if isinstance(event, Call):
            if event.x[0] & MASK32 not in _CONSOLE:
                self._last = f"{event.endpoint}.{event.vcpu}", event.x
        elif isinstance(event, Refuse):
            self.console.refused(
                f"{event.endpoint}.{event.vcpu} by {event.rule}: got {event.got}, "
                f"expected {event.expected} ({event.status}; {event.section})"
            )
        if self._trace is not None:
            self._trace.record(event)

    # Consoles and limits

    def _line(self, name: str, text: str) -> None:
        if self._failed:  # what its slice still prints
            return
        running = self.console.case
        who = "" if name in self._mains else name
        self.console.line(text, self._machine.clock.now, who=who)
        if self.console.ended:
            self._machine.stop()
            return
        begun = self.console.case
        if begun is running:
            return
        if running is not None:
            self._ended(running)
        if begun is not None:
            self._begun(begun)

    def _begun(self, case: Case) -> None:
        self._arm()
        self._found = leftovers.found(self._system, self._main)
        if self._on_test is not None:
            self._on_test(case)

    def _ended(self, case: Case) -> None:
        known = set(self._found)
        now = leftovers.found(self._system, self._main)
        case.left = [line for line in now if line not in known]
        if self._stop_on_failure and case.verdict not in GOOD:
            self._failed = True
            self._machine.stop()

    def _arm(self) -> None:
        """A test begins: it has its time and its exits from now on."""
        machine = self._machine
        if self._deadline is not None:
            machine.clock.cancel(self._deadline)
        limit = round(self._limits.seconds * 1e9)
        self._deadline = machine.clock.at(machine.clock.now + limit, self._expire)
        machine.exit_limit = machine.exits + self._limits.exits
        if self._alarm:
            signal.setitimer(signal.ITIMER_REAL, self._limits.real)

    def _expire(self) -> None:
        self._late = f"no end within {self._limits.seconds:g} s of virtual time"
        self._machine.stop()

    def _expire_really(self, _number: int, _frame: FrameType | None) -> None:
        raise Stuck(f"no end within {self._limits.real:g} s of real time")

    def _last_call(self) -> str:
        if self._last is None:
            return "nobody made a call"
        who, x = self._last
        return f"last call {who} {calls.decode(x)}"

    # Logs

    def _write_log(self, folder: Path) -> None:
        lines = _without_characters(read_lines(folder / f"{self._name}.jsonl"))
        text = (f"{text}\n" for _, text in Reader().read(lines))
        (folder / f"{self._name}.log").write_text("".join(text), encoding="utf-8")


def _without_characters(lines: Iterable[Record]) -> Iterator[Record]:
    """The lines of a trace without the calls that print; the lines that they print are there."""
    printing = set()
    for line in lines:
        if isinstance(line, Call) and line.x[0] & MASK32 in _CONSOLE:
            printing.add((line.endpoint, line.vcpu))
        elif isinstance(line, Return) and (line.endpoint, line.vcpu) in printing:
            printing.remove((line.endpoint, line.vcpu))
        else:
            yield line
