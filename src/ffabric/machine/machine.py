"""The machine: PEs that run execution contexts until they exit to the firmware.

A PE runs one context on its engine. Each exit (a call, an abort, idle, the end of a slice) goes to
the firmware, which answers by leaving in ``pe.current`` the context that the PE runs next, with the
registers it resumes with. The machine then lets virtual time pass, delivers what has fallen due and
goes on; when several PEs could be next it asks ``choices``. Nothing here is a thread: one loop, one
list of choices, the same run every time.

vCPUs that other processes execute are ``outside``. When there are any, a machine that has nothing
to do waits for them, and virtual time passes meanwhile as wall time does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from ffabric.machine import exits
from ffabric.machine.context import NO_REGISTERS, PE
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
    Tracer,
)
from ffabric.machine.host.interruption import RUNS

if TYPE_CHECKING:
    from ffabric.machine.bus import Bus
    from ffabric.machine.choices import Choices
    from ffabric.machine.clock import Clock, Event
    from ffabric.machine.context import Context, Runner
    from ffabric.machine.gic import Gic
    from ffabric.machine.host.outside import Outside
    from ffabric.machine.memory import PhysicalMemory

_SVC = exits.SVC
EXIT_COST = 500
"""Virtual nanoseconds that pass for one exit to the firmware and back."""


CALLS, GOES_ON, FAULTS = 0, 1, 2
"""What is `Kept`: a context calls, goes on (not just with the message of a call), or faults."""

Take = Callable[["PE", "Context", int], object]
"""Takes an exit of a context to its exception level."""

Kept = tuple[int, "Context", int, Any]
"""What a context does, the context, when it was (virtual nanoseconds), x0 to x17 or the event.

The registers of a call may be packed (`Context.packed`)."""


class Stalled(RuntimeError):  # noqa: N818 - a state of the run
    """Nothing can run and nothing is due: whoever waits, waits for ever."""


class OutOfExits(RuntimeError):  # noqa: N818 - a limit of the run
    """The run used up the exits it was allowed: something spins."""


class Firmware(Protocol):
    """What the machine asks of the privileged software."""

    def interrupt(self, pe: PE, pending: tuple[int, int] | None) -> bool:
        """The most urgent pending interrupt of ``pe`` is now ``pending`` (INTID, group).

        True if it was acknowledged, so that another may be behind it. Firmware that defers an
        interrupt sets ``pe.deferred``: it is offered again when the PE runs another context.
        """


def _nothing(_ctx: Context) -> None:
    """Nobody wants to hear of contexts that begin."""


class Machine:
    """PEs, memory, bus, interrupts, time and choices, and the loop that drives them."""

    def __init__(
        self,
        *,
        memory: PhysicalMemory,
        bus: Bus,
        gic: Gic,
        clock: Clock,
        choices: Choices,
        mpidrs: Sequence[int],
    ) -> None:
        self.memory = memory
        self.bus = bus
        self.gic = gic
        self.clock = clock
        self.choices = choices
        self.pes = [PE(index, mpidr) for index, mpidr in enumerate(mpidrs)]
        self.runnable: list[PE] = []
        self.firmware: Firmware | None = None
        self._outside: Outside | None = None
        self.exits = 0
        self.exit_limit: int | None = None
        self.stopping = False
        self.interrupts_changed = False
        self._running = False
        self._only: PE | None = None
        """The PE that is runnable, if it is the only one."""
        self._leaves = False
        """Engines come back to the loop after the present exit: it has something to do."""
        self._executing: Runner | None = None
        self._pausing = False
        self._held: Context | None = None
        """What a pause has stopped, though it would have gone on."""
        self._turn = -1
        """The place of the PE in the loop that ran last before a pause."""
        self._posted: list[Callable[[], object]] = []
        self._end: Event | None = None
        self.on_start: Callable[[Context], object] = _nothing
        """Hears of each context that is about to begin: nothing of what it was before counts."""
        self.tracer: Tracer | None = None
        self.keep: Callable[[Kept], object] | None = None
        """Gets the raw registers of each call, for who wants to know the last of them."""
        self._tap: Take | None = None
        self._is_watched = False
        """Somebody hears of exits or takes them: there is a tracer or a `tap`."""
        self._attached = 0
        """How often a tracer has come or gone: the mark of calls that the present one has heard."""
        gic.on_change = self.look_at_interrupts

    @property
    def outside(self) -> Outside | None:
        """What other processes execute for it; None: nothing."""
        return self._outside

    @outside.setter
    def outside(self, outside: Outside | None) -> None:
        self._outside = outside
        self._leaves = self._leaves or outside is not None

    @property
    def tap(self) -> Take | None:
        """Gets each exit instead of `take`, to pass it on."""
        return self._tap

    @tap.setter
    def tap(self, tap: Take | None) -> None:
        self._tap = tap
        self._look_who_watches()

    def _look_who_watches(self) -> None:
        self._is_watched = (self.tracer, self._tap) != (None, None)

    def attach(self, tracer: Tracer | None) -> None:
        """Let ``tracer`` listen to what the PEs do (None: nobody); it hears first who has each."""
        self.tracer = tracer
        self._look_who_watches()
        self._attached += 1
        for pe in self.pes:
            if tracer is not None and pe.current is not None and not pe.idle:
                tracer.record(Resume(pe.index, pe.current.endpoint, pe.current.index))

    def look_at_interrupts(self) -> None:
        """What is pending has changed: every PE is offered its interrupts before it goes on."""
        self.interrupts_changed = True
        if self._executing is not None:
            self._executing.kick()

    def schedule(self, pe: PE, ctx: Context | None) -> None:
        """Let ``pe`` run ``ctx`` next (None: it has nothing to run)."""
        tracer = self.tracer
        if tracer is not None and ctx is not None:
            self._goes_on(tracer, pe, ctx)
        if pe.outsider is not None and ctx is not pe.current:
            pe.outsider.withdraw()
            pe.outsider = None
        pe.current = ctx
        pe.idle = False
        if pe.deferred:
            pe.deferred = False
            self.interrupts_changed = True
        if ctx is None:
            self.park(pe)
        else:
            ctx.pe = pe
            if pe not in self.runnable:
                self.unpark(pe)

    def park(self, pe: PE) -> None:
        """Take ``pe`` out of the loop: it is idle, off, or waits for the program that drives it."""
        if pe in self.runnable:
            self.runnable.remove(pe)
            self._only = self.runnable[0] if len(self.runnable) == 1 else None

    def unpark(self, pe: PE) -> None:
        """Put ``pe`` back into the loop."""
        runnable = self.runnable
        if not runnable:
            runnable.append(pe)
            self._only = pe
        elif pe not in runnable:
            runnable.append(pe)
            runnable.sort(key=_index)
            self._only = None

    def idle(self, pe: PE) -> None:
        """``pe`` waits for an interrupt (WFI): not at all if one is pending, masked or not."""
        if self.gic.pending(pe.index) is None:
            pe.idle = True
            self.park(pe)

    def wake(self, pe: PE) -> None:
        """An interrupt ends the wait of ``pe``."""
        if pe.idle:
            if self.tracer is not None and pe.current is not None:
                self._goes_on(self.tracer, pe, pe.current)
            pe.idle = False
            self.unpark(pe)

    def start(
        self,
        ctx: Context,
        entry: int,
        argument: int,
        others: Mapping[int, int] = NO_REGISTERS,
    ) -> None:
        """Let ``ctx``, which has its PE, begin at ``entry`` with ``argument`` in x0.

        ``others`` are general registers that are not 0, by their numbers.
        """
        assert ctx.runner is not None
        self.on_start(ctx)
        ctx.runner.start(entry, argument, others)
        if self.tracer is not None:
            assert ctx.pe is not None
            self.break_off(ctx, Start(ctx.pe.index, ctx.endpoint, ctx.index, entry, argument))

    def break_off(self, ctx: Context, event: ContextEvent) -> None:
        """``ctx`` does not go on by itself, nor with an answer to its call: ``event`` says why.

        To be called only if there is a tracer.
        """
        assert self.tracer is not None
        ctx.calling = -self._attached
        self.tracer.record(event)

    def _goes_on(self, tracer: Tracer, pe: PE, ctx: Context) -> None:
        """``ctx`` is about to execute on ``pe``: with the answer to its call, if it made one."""
        calling, ctx.calling = ctx.calling, 0
        if calling == self._attached:
            tracer.record(Return(pe.index, ctx.endpoint, ctx.index, tuple(ctx.x)))
        elif pe.current is not ctx or pe.idle or calling == -self._attached:
            tracer.record(Resume(pe.index, ctx.endpoint, ctx.index))

    def trap(self, ctx: Context, exit_: int) -> bool:
        """Take an exit of ``ctx`` to the firmware; True if its engine goes straight on with it."""
        pe: PE = ctx.pe  # type: ignore[assignment]
        pe.exit = self.exits = self.exits + 1
        if self._is_watched:
            self._trap_watched(pe, ctx, exit_)
        else:  # as `take` and `_trap_watched` do, without their calls
            keep = self.keep
            if keep is not None:
                self._keep_exit(keep, pe, ctx, exit_)
            nxt = ctx.level.trap(pe, ctx, exit_)
            if nxt is not ctx:
                while nxt is not None and (gate := nxt.gate) is not None:
                    nxt = gate(pe, nxt)
            if nxt is not ctx or pe.current is not ctx:
                if nxt is None or self._only is not pe or pe.deferred or pe.outsider is not None:
                    self.schedule(pe, nxt)
                else:  # that is all of `schedule` for a PE that goes on alone
                    pe.current = nxt
                    nxt.pe = pe
            clock = self.clock
            now = clock.now + EXIT_COST
            if now < clock.due:
                clock.now = now
            else:
                clock.advance(EXIT_COST)
            changed = self.interrupts_changed
            if changed:
                self.deliver_interrupts()
            if keep is not None and (changed or (pe.current is ctx) is (exit_ <= _SVC)):
                self._keep_who_goes_on(keep, pe)
        if self.exit_limit is not None and self.exits >= self.exit_limit:
            self._out_of_exits(ctx)
        if self._leaves:
            return self._pausing and self._hold(pe, ctx)
        return self._only is pe and pe.current is ctx

    def _hold(self, pe: PE, ctx: Context) -> bool:
        """A pause stops the engine of ``ctx``, which may have been about to go on: it does not."""
        if self._only is pe and pe.current is ctx:
            self._held = ctx
        return False

    def take(self, pe: PE, ctx: Context, exit_: int) -> None:
        """Take an exit to its exception level and through gates; schedule what the PE runs next."""
        nxt = ctx.level.trap(pe, ctx, exit_)
        while nxt is not None and (gate := nxt.gate) is not None:
            nxt = gate(pe, nxt)
        if nxt is not ctx or pe.current is not ctx:
            self.schedule(pe, nxt)

    def _trap_watched(self, pe: PE, ctx: Context, exit_: int) -> None:
        """Take an exit, let time pass and deliver interrupts; those who listen hear of it."""
        keep = self.keep
        if keep is not None:
            self._keep_exit(keep, pe, ctx, exit_)
        take = self.take if self._tap is None else self._tap
        if self.tracer is None:
            take(pe, ctx, exit_)
        else:
            self._trap_traced(self.tracer, take, pe, ctx, exit_)
        self.clock.advance(EXIT_COST)
        changed = self.interrupts_changed
        if changed:
            self.deliver_interrupts()
        if keep is not None and (changed or (pe.current is ctx) is (exit_ <= _SVC)):
            self._keep_who_goes_on(keep, pe)

    def _keep_exit(self, keep: Callable[[Kept], object], pe: PE, ctx: Context, exit_: int) -> None:
        """Let a call, or a fault, be kept."""
        if exit_ <= _SVC:
            keep((CALLS, ctx, self.clock.now, ctx.packed or tuple(ctx.x)))
        elif exit_ in _FAULTS:
            keep((FAULTS, ctx, self.clock.now, _EXITS[exit_](pe, ctx)))

    def _keep_who_goes_on(self, keep: Callable[[Kept], object], pe: PE) -> None:
        """Let the registers be kept with which ``pe`` goes on."""
        if pe.current is not None:
            keep((GOES_ON, pe.current, self.clock.now, tuple(pe.current.x)))

    def _trap_traced(self, tracer: Tracer, take: Take, pe: PE, ctx: Context, exit_: int) -> None:
        """Take an exit to the firmware and record it, and the answer if there is one at once."""
        if exit_ <= _SVC:
            tracer.record(Call(pe.index, ctx.endpoint, ctx.index, tuple(ctx.x)))
            ctx.calling = self._attached
        else:
            tracer.record(_EXITS[exit_](pe, ctx))
        take(pe, ctx, exit_)
        if pe.current is ctx and not pe.idle:
            if exit_ == exits.IDLE:  # something is pending meanwhile
                tracer.record(Resume(pe.index, ctx.endpoint, ctx.index))
            else:
                self._goes_on(tracer, pe, ctx)

    def _out_of_exits(self, ctx: Context) -> None:
        limit, self.exit_limit = self.exit_limit, None
        raise OutOfExits(f"{limit} exits used up; {ctx.name} made the last one")

    def deliver_interrupts(self) -> None:
        """Offer each PE its most urgent pending interrupt until none can be taken."""
        assert self.firmware is not None
        interrupt, pending = self.firmware.interrupt, self.gic.pending
        self.interrupts_changed = False
        for pe in self.pes:
            while pe.on and interrupt(pe, pending(pe.index)):
                pass

    def waits_for(self, pe: PE | None, ctx: Context) -> bool:
        """Whether there is nothing to do but what ``ctx`` does next, which has ``pe``."""
        return (
            pe is not None
            and self._only is pe
            and pe.current is ctx
            and not (pe.queue or self.stopping or self.interrupts_changed or self._posted)
        )

    def stop(self) -> None:
        """End the run after the present exit."""
        self.stopping = self._leaves = True

    def pause(self) -> None:
        """End the run after the present exit; the next `run` goes on as if it had not ended.

        The turns of the PEs and a time slice that has begun are as they were.
        """
        self.stopping = self._pausing = self._leaves = True

    def end_at(self, deadline: int, action: Callable[[], object]) -> None:
        """Call ``action``, which is to stop the run, when the clock is at ``deadline`` (ns).

        Unlike an event of the clock it is nothing to wait for: a run in which nothing else is due
        ends before.
        """
        self._end = self.clock.at(deadline, action)

    def post(self, action: Callable[[], object]) -> None:
        """Do ``action`` when no engine executes: now, or after the exit that is being handled.

        What takes PEs from contexts or frees engines must not happen while one is executing, in
        the callback of a clock or of a device for instance.
        """
        if self._running:
            self._posted.append(action)
            self._leaves = True
        else:
            action()

    @property
    def executing(self) -> Runner | None:
        """Whose code executes at this moment, if anybody's does."""
        return self._executing

    @property
    def is_executing(self) -> bool:
        """Whether it runs, or has yet to do what was posted meanwhile."""
        return self._running or bool(self._posted)

    def _do_posted(self) -> None:
        while self._posted:
            self._posted.pop(0)()
        self._leaves = self.stopping or self._outside is not None

    def run(self) -> None:
        """Run until something calls :meth:`stop`, or until nothing can run and nothing is due.

        Of several PEs the first choice is always the next in turn, so that without a seed they
        share the time evenly. Raises Interrupted if a signal that asks for the end has ended it.
        """
        self.stopping = self._pausing = False
        self._leaves = bool(self._posted) or self._outside is not None
        self._running = True
        RUNS.begin(self.stop)
        try:
            self._loop()
        finally:
            self._running = False
            RUNS.end()
        if self._outside is not None:
            self._outside.serve(0)
        self._do_posted()

    def _loop(self) -> None:
        runnable = self.runnable
        trap = self.trap
        pick = self.choices.pick
        turn, self._turn = self._turn, -1
        has_looked = False
        while not self.stopping:
            if self._leaves:
                if self._posted:
                    self._do_posted()
                if self._outside is not None and not has_looked:
                    self._outside.look()
                if self.interrupts_changed:  # nobody goes on before they are offered
                    self.deliver_interrupts()
            pe = self._only
            if pe is None:
                count = len(runnable)
                has_looked = count == 0
                if has_looked:
                    if not self._sleep():
                        return
                    continue
                turn = (turn + 1 + pick(count, "pe")) % count
                pe = runnable[turn]
            has_looked = False
            ctx: Context = pe.current  # type: ignore[assignment]
            runner: Runner = ctx.runner  # type: ignore[assignment]
            self._executing = runner
            if self._held is None:
                runner.run(ctx, trap)
            else:
                self._goes_on_after_pause(ctx)
            while self._only is not None and not self._leaves:  # only it has anything to do
                ctx = self._only.current  # type: ignore[assignment]
                runner = self._executing = ctx.runner  # type: ignore[assignment]
                runner.run(ctx, trap)
            self._executing = None
        if self._pausing:
            self._turn = turn

    def _goes_on_after_pause(self, ctx: Context) -> None:
        held, self._held = self._held, None
        assert ctx.runner is not None
        run = ctx.runner.go_on if held is ctx else ctx.runner.run
        run(ctx, self.trap)

    def _sleep(self) -> bool:
        """Nothing is runnable: interrupts, or else time up to the next deadline. False: neither.

        What is outside may come before that deadline; time then passes as it does there.
        """
        if not self.interrupts_changed:
            deadline = self.clock.next_deadline()
            if self._end is not None and self.clock.events == (self._end,):
                deadline = None
            left = None if deadline is None else max(0, deadline - self.clock.now)
            if self._outside:
                left = self._outside.wait(left)
            if left is None:
                return False
            self.clock.advance(left)
        if self.interrupts_changed:
            self.deliver_interrupts()
        return True


_index = attrgetter("index")


def _abort(pe: PE, ctx: Context) -> Abort:
    fault = ctx.fault
    assert fault is not None
    return Abort(
        pe=pe.index,
        endpoint=ctx.endpoint,
        vcpu=ctx.index,
        fault=fault.kind,
        ipa=fault.ipa,
        va=fault.va,
        write=fault.write,
        syndrome=fault.syndrome,
        pc=fault.pc,
    )


def _idle(pe: PE, ctx: Context) -> Idle:
    return Idle(pe.index, ctx.endpoint, ctx.index)


def _slice(pe: PE, ctx: Context) -> Slice:
    return Slice(pe.index, ctx.endpoint, ctx.index)


def _crash(pe: PE, ctx: Context) -> Crash:
    return Crash(pe.index, ctx.endpoint, ctx.index, ctx.crash)


_FAULTS = frozenset({exits.ABORT, exits.CRASH})
_EXITS: dict[int, Callable[[PE, Context], ContextEvent]] = {
    exits.ABORT: _abort,
    exits.IDLE: _idle,
    exits.SLICE: _slice,
    exits.CRASH: _crash,
}
"""What each exit that is no call is recorded as."""
