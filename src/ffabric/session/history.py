"""Going back: a run that can be looked at where it is, where it was, and where it will be.

A *position* is a number of exits of partitions: calls, aborts, waits. Forward, the run just goes
on. Back, it is taken from a copy of an earlier state where all partitions can be copied (those that
are driven); else the system is booted again, and the run made again from its seed, its choices and
what was done to it from outside, up to the position. Both are exact: a pause changes nothing.
What QEMU executes takes wall time and is never the same again, so a system with a QEMU only goes
forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, Self, TypeVar

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32, PAGE
from ffabric.machine.engines.driven import DrivenRunner
from ffabric.machine.machine import OutOfExits, Stalled
from ffabric.observe.decoding.text import Reader
from ffabric.observe.ownership import Holding, Ownership
from ffabric.observe.timeline import Timeline
from ffabric.session.heard import Happening, Heard
from ffabric.session.moment import Moment, look
from ffabric.session.until import matcher
from ffabric.system.booting.boot import boot
from ffabric.system.copying import CannotCopy, copy_of
from ffabric.system.crash import PartitionCrashed
from ffabric.system.options.problems import did_you_mean
from ffabric.system.spec import QEMU

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.machine.events import Record
    from ffabric.system.spec import SystemSpec
    from ffabric.system.system import System as Booted

MOST_COPIES = 32
"""States that are kept."""

_Registers = tuple[int, ...]
_LENDING = fid.DIRECT_REQUESTS | {
    fid.FFA_MSG_SEND_DIRECT_RESP_32,
    fid.FFA_MSG_SEND_DIRECT_RESP_64,
    fid.FFA_MSG_SEND_DIRECT_RESP2,
    fid.FFA_MSG_WAIT,
    fid.FFA_YIELD,
    fid.FFA_RUN,
    fid.FFA_ERROR,
}
"""Calls with which a context may lose its PE."""
_ENDS = (PartitionCrashed, OutOfExits, Stalled)
"""How a run may end before the position that it was to reach."""


class InHand(Protocol):
    """A system in hand, as far as its history needs it: see `ffabric.System`."""

    system: Any
    """What is inside: private, and may change."""

    @property
    def exits(self) -> int:
        """How many exits partitions have made: calls, aborts, waits."""

    def close(self) -> None:
        """Give everything back."""


S = TypeVar("S", bound=InHand)


class CannotGoBack(RuntimeError):  # noqa: N818 - what is so
    """A run cannot be made again."""

    __module__ = "ffabric"


class CannotCall(RuntimeError):  # noqa: N818 - what is so
    """A vCPU cannot make a call for somebody else, where it is."""

    __module__ = "ffabric"


class _Input(NamedTuple):
    """What was done from outside at a position: a call of a driven vCPU, or a store."""

    position: int
    name: str
    vcpu: int
    registers: tuple[int, ...]
    ipa: int = 0
    data: bytes = b""


class History(Generic[S]):
    """A run of a system that can go back. Made by `System.with_history`.

    ``system`` is the system where it is now: another one after each way back. What is done to it
    from outside has to be done with `call` and `write`, so that it can be done again.
    """

    def __init__(
        self,
        take: Callable[[Any], S],
        spec: SystemSpec,
        *,
        seed: int | None = None,
        replay: Sequence[int] | None = None,
    ) -> None:
        self._take: Callable[[Any], S] = take
        self._spec: Any = spec
        self._seed: int | None = seed
        self._replay: Sequence[int] | None = replay
        self._qemu: list[str] = [each.name for each in spec.partitions if each.engine == QEMU]
        self._inputs: list[_Input] = []
        self._done: int = 0
        """How many of the inputs are behind the present position."""
        self._copies: list[tuple[int, int, Any]] = []
        """(position, inputs done, a system in that state)."""
        self.happened: list[Happening] = []
        """The events so far."""
        self.answer: tuple[int, ...] = ()
        """The registers after the last `call`."""
        self.end: str = ""
        """Why the run cannot go on, if it cannot."""
        self._open(self._boot())

    def _boot(self) -> Booted:
        try:
            spec = deepcopy(self._spec)
        except Exception as error:
            raise CannotGoBack(f"a partition's Python object cannot be copied: {error}") from error
        return boot(spec, seed=self._seed, replay=self._replay)

    def _open(self, inside: Booted) -> None:
        self.system: S = self._take(inside)
        self._heard: Any = Heard(inside, self.happened)
        inside.attach(self._heard)

    # Where it is.

    @property
    def position(self) -> int:
        """How many exits partitions have made."""
        return self.system.exits

    @property
    def time(self) -> int:
        """Virtual nanoseconds since the machine was made."""
        now: int = self.system.system.machine.clock.now
        return now

    def state(self) -> Moment:
        """The state of all contexts, buffers, notifications and memory transactions."""
        return look(self.system.system)

    def last(self) -> str:
        """What has happened in the last exit, decoded."""
        return self._told(each for each in self.happened if each.position == self.position)

    def text(self, start: int = 0, end: int | None = None) -> str:
        """The calls, answers and refusals of exits ``start`` to ``end``, decoded."""
        last = self.position if end is None else end
        return self._told(each for each in self.happened if start <= each.position <= last)

    def _told(self, wanted: Iterator[Happening]) -> str:
        reader = Reader()
        list(reader.line(self._heard.header))
        chosen = {id(each.event) for each in wanted}
        lines = []
        for each in self.happened:
            if id(each.event) in chosen:
                lines += [text for _, text in reader.line(each.event)]
            else:
                reader.skip(each.event)
        return "\n".join(lines)

    # To and fro.

    def step(self, exits: int = 1) -> Self:
        """Go on for so many exits, or until the run ends."""
        return self.goto(self.position + exits)

    def back(self, exits: int = 1) -> Self:
        """Go back so many exits. Raises CannotGoBack."""
        return self.goto(max(0, self.position - exits))

    def goto(self, position: int) -> Self:
        """Go to ``position``, forward or back. Raises CannotGoBack, ValueError for a negative one.

        It is as it was then, before anything was done at that position from outside. If the run
        ends before, it is where it ended, and ``end`` says why.
        """
        if position < 0:
            raise ValueError(f"{position}: a run begins at 0")
        if position < self.position:
            self._restore(position)
        self._forward(position)
        return self

    def run(self) -> Self:
        """Go on until the run ends."""
        self._forward(None)
        return self

    def until(self, what: str) -> Happening | None:
        """Go on until a rule refuses, a function is called, or a page changes hands.

        ``what``: the id of a rule or the beginning of one, the name or number of a function, the
        physical address of a page. Returns what happened; None if the run ended before. Raises
        ValueError for what is none of these.
        """
        self._heard.until = matcher(what)
        self._heard.met = None
        try:
            self._forward(None)
        finally:
            self._heard.until = None
        met: Happening | None = self._heard.met
        return met

    def _forward(self, position: int | None) -> None:
        """Go on to ``position``; None: to the end."""
        inside: Booted = self.system.system
        heard = self._heard
        self.end = ""
        while heard.met is None or heard.until is None:
            at = inside.machine.exits
            if position is not None and at >= position:
                return
            if inside.failure is not None:
                self.end = str(inside.failure)
                return
            if self._done < len(self._inputs) and self._inputs[self._done].position <= at:
                self._apply(self._inputs[self._done])
                self._done += 1
                continue
            ahead = [each.position for each in self._inputs[self._done :]]
            stops = [stop for stop in (position, *ahead[:1]) if stop is not None and stop > at]
            heard.target = min(stops, default=None)
            try:
                inside.run()
            except _ENDS as error:
                self.end = str(error)
                return
            finally:
                heard.target = None
            if inside.machine.exits == at or (not inside.machine.stopping and not ahead):
                self.end = "nothing can run any more"
                return

    def _restore(self, position: int) -> None:
        if self._qemu:
            raise CannotGoBack(
                f"{', '.join(self._qemu)}: what QEMU executes takes wall time and is never the same"
                f" again"
            )
        at, done, found = 0, 0, None
        for kept_at, kept_done, kept in self._copies:
            if at <= kept_at <= position:
                at, done, found = kept_at, kept_done, kept
        fresh = self._boot() if found is None else copy_of(found)
        self.system.close()
        self._forget_copies(position)
        self.happened[:] = [each for each in self.happened if each.position <= at and found]
        self._done = done
        self._open(fresh)

    # What is done from outside.

    def call(self, name: str, *registers: int, vcpu: int = 0) -> tuple[int, ...]:
        """Let a vCPU of partition ``name`` make a call: its registers afterwards.

        A vCPU that is driven gets the PE for that; if it has not got control back, the registers
        are those of its call. One that runs by itself makes the call where it is about to go on,
        and does not notice. Later inputs are forgotten: this is another future. Raises LookupError
        for an unknown partition or vCPU, CannotCall, Stalled for a vCPU that does not get the PE.
        """
        self._input(_Input(self.position, name, vcpu, registers))
        return self.answer

    def write(self, name: str, ipa: int, data: bytes) -> None:
        """Store ``data`` as partition ``name`` would. Raises LookupError, DataAbort."""
        self._input(_Input(self.position, name, 0, (), ipa, data))

    def _input(self, made: _Input) -> None:
        known, name = self.system.system.endpoints, made.name
        if name not in known:
            raise LookupError(f"there is no partition {name!r}{did_you_mean(name, known)}")
        vcpus = len(known[name].partition.contexts)
        if made.vcpu >= vcpus:
            raise LookupError(f"{name} has {vcpus} vCPUs, counted from 0")
        self._keep()
        self._apply(made)
        self._inputs[self._done :] = [made]
        self._done += 1

    def _keep(self) -> None:
        """Keep a copy of the state that the present position began with, if there can be one."""
        self._forget_copies(self.position)
        if any(position == self.position for position, *_ in self._copies):
            return
        try:
            copy = copy_of(self.system.system)
        except CannotCopy:
            return
        self._copies.append((self.position, self._done, copy))
        if len(self._copies) > MOST_COPIES:
            self._copies.pop(0)[2].close()

    def _forget_copies(self, after: int) -> None:
        for position, _, copy in self._copies:
            if position > after:
                copy.close()
        self._copies = [each for each in self._copies if each[0] <= after]

    def _apply(self, made: _Input) -> None:
        endpoint = self.system.system.endpoint(made.name)
        if not made.registers:
            endpoint.memory.write(made.ipa, made.data)
            return
        ctx = endpoint.partition.contexts[made.vcpu]
        if isinstance(ctx.runner, DrivenRunner):
            runner = endpoint.take(made.vcpu)
            ctx.x[:] = [*made.registers, *[0] * (18 - len(made.registers))]
            runner.call(endpoint.vcpu(ctx).conduit)
            self.answer = tuple(ctx.x)
        else:
            self.answer = self._slip_in(endpoint.vcpu(ctx).conduit, ctx, made.registers)

    def _slip_in(self, conduit: int, ctx: ExecutionContext, registers: Sequence[int]) -> _Registers:
        """A context that is about to go on makes a call before: its answer. It notices nothing."""
        pe = ctx.pe
        if pe is None or pe.current is not ctx or pe.idle:
            raise CannotCall(f"{ctx.name} has no PE here: go to where it runs")
        if registers[0] & MASK32 in _LENDING:
            raise CannotCall(f"{ctx.name} runs by itself: with this call it would lose its PE")
        kept = tuple(ctx.x)
        ctx.x[:] = [*registers, *[0] * (18 - len(registers))]
        self.system.system.machine.trap(ctx, conduit)
        answer, ctx.x[:] = tuple(ctx.x), kept
        return answer

    # Questions.

    def why(self, page: int) -> list[tuple[int, Holding]]:
        """Whose the page at a physical address was, and since which position, oldest first."""
        lines: list[Record] = [self._heard.header, *(each.event for each in self.happened)]
        positions = [0, *(each.position for each in self.happened)]
        for stretch in Ownership(Timeline().add(lines)).stretches():
            if stretch.base <= page < stretch.base + stretch.pages * PAGE:
                return [(positions[each.since], each) for each in stretch.history]
        return []

    def close(self) -> None:
        """Give everything back."""
        self.system.close()
        for *_, copy in self._copies:
            copy.close()
        self._copies.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        end = f", {self.end}" if self.end else ""
        return f"<History of {self._spec.name} at exit {self.position}, {self.time} ns{end}>"
