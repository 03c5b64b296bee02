"""What the suite prints: which test it runs, what goes wrong in it, how it ends.

Everything the suite decides comes on VM1's UART, in lines as these, which may begin with a stamp in
brackets::

    Suite=NAME : Test=NAME                      a test begins
        Executing Test Setup client: X server: Y    one of its setups; the server may be absent
        ERROR: what is wrong                    also on the consoles of secure partitions
        ERROR:  Check failed at FILE ,line:N    where the error before it was found
    Result=Passed                               or Failed, Skipped, Error, with a code in brackets
    ******* END OF ACS *******                  there are no more

A test without a Result line is one that the suite left out, because FFA_FEATURES says that a
function it needs is not supported. Within a test the setups run until one fails, and the result is
that of the last. Files are names of the build's machine; only their last part is kept.
"""

from __future__ import annotations

import enum
import re

import msgspec


class Verdict(enum.Enum):
    """How a test ended. The first four are the suite's own words, the others ours."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    ERROR = "error"
    HUNG = "hung"
    CRASHED = "crashed"
    UNSUPPORTED = "not supported"
    NOT_RUN = "not run"


GOOD = frozenset({Verdict.PASSED, Verdict.SKIPPED, Verdict.UNSUPPORTED})


class Case(msgspec.Struct):
    """A test that ran. `begun` and `ended` are virtual nanoseconds.

    `errors` are the suite's, `notes` whatever else it said, `refusals` the calls that the firmware
    refused, each with its rule; `end` says why a test did not come to its end; `left` is what it
    has left behind.
    """

    name: str
    suite: str
    begun: int = 0
    ended: int = 0
    verdict: Verdict = Verdict.HUNG
    code: int | None = None
    setups: list[str] = []
    errors: list[str] = []
    notes: list[str] = []
    refusals: list[str] = []
    left: list[str] = []
    end: str = ""

    @property
    def reasons(self) -> list[str]:
        """Why it did not pass, a line each; nothing if it did."""
        if self.verdict is Verdict.PASSED:
            return []
        found = [self.end] if self.end else []
        if self.verdict is Verdict.SKIPPED:
            found += [self.notes[-1] if self.notes else self._empty_setup()]
        elif self.verdict is Verdict.UNSUPPORTED:
            found += ["FFA_FEATURES says that a function it needs is not supported"]
        else:
            found += self.errors
            if not found:
                found += [*self.notes[-1:], f"error code {self.code}"]
            if self.refusals:
                found.append(f"last refused: {self.refusals[-1]}")
        return found

    def _empty_setup(self) -> str:
        setup = f" with {self.setups[-1]}" if self.setups else ""
        return f"no setup{setup} for this build (skip code {self.code})"


class Console:
    """Reads the consoles of a run, line by line."""

    def __init__(self) -> None:
        self.cases: list[Case] = []
        self.ended = False
        self.before: list[str] = []
        """What was said before the first test."""
        self._case: Case | None = None
        self._placed = True  # the last error has its place, or there is none

    @property
    def case(self) -> Case | None:
        """The test that is running."""
        return self._case

    def line(self, text: str, now: int, *, who: str = "") -> None:
        """The suite has printed ``text``; ``who`` is a partition that is not VM1."""
        said = _STAMP.sub("", text).strip()
        if who:
            self._say(said, f"{who}: ")
            return
        for pattern, handler in _HANDLERS:
            match = pattern.match(said)
            if match:
                handler(self, match, now)
                return
        self._say(said, "")

    def refused(self, what: str) -> None:
        """The firmware has refused a call."""
        if self._case is not None:
            self._case.refusals.append(what)

    def stop(self, verdict: Verdict, why: str, now: int) -> None:
        """The run has ended by itself; a test that was running did not come to its end."""
        if self._case is not None:
            self._case.verdict, self._case.end = verdict, why
            self._finish(now)

    def _say(self, said: str, who: str) -> None:
        if not said or _RULER.fullmatch(said):
            return
        case = self._case
        error, place = _ERROR.match(said), _CHECK.search(said)
        if case is None:
            self.before.append(f"{who}{said}")
            return
        if error is None and place is None:
            case.notes.append(f"{who}{said}")
            return
        text = said[error.end() if error else 0 : place.start() if place else None].strip(" \t,")
        if text or self._placed:
            case.errors.append(f"{who}{text or 'check failed'}")
        if place is not None:
            case.errors[-1] += f" ({_last_part(place[1])}:{place[2]})"
        self._placed = place is not None

    def _test(self, match: re.Match[str], now: int) -> None:
        self._left_out(now)
        self._case = Case(name=match[2], suite=match[1], begun=now)
        self._placed = True
        self.cases.append(self._case)

    def _setup(self, match: re.Match[str], _now: int) -> None:
        if self._case is not None:
            self._case.setups.append(" and ".join(name for name in match.groups() if name))

    def _result(self, match: re.Match[str], now: int) -> None:
        if self._case is not None:
            self._case.verdict = Verdict(match[1].lower())
            self._case.code = int(match[2]) if match[2] else None
            self._finish(now)

    def _end(self, _match: re.Match[str], now: int) -> None:
        self._left_out(now)
        self.ended = True

    def _left_out(self, now: int) -> None:
        if self._case is not None:
            self._case.verdict = Verdict.UNSUPPORTED
            self._finish(now)

    def _finish(self, now: int) -> None:
        assert self._case is not None
        self._case.ended = now
        self._case = None


_STAMP = re.compile(r"^\[\d{4} \d+\]")
_RULER = re.compile(r"[-=*\s]+")
_ERROR = re.compile(r"ERROR:\s*")
_CHECK = re.compile(r"Check failed at (\S+) *, *line:(\d+)")
_HANDLERS = (
    (re.compile(r"Suite=(\S+) : Test=(\S+)"), Console._test),
    (re.compile(r"Executing Test Setup client: (\S+)(?: server: (\S+))?"), Console._setup),
    (
        re.compile(r"Result=(Passed|Failed|Skipped|Error)(?: \(\w+ [cC]ode=(\d+)\))?"),
        Console._result,
    ),
    (re.compile(r"\*+ END OF ACS \*+"), Console._end),
)


def _last_part(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]
