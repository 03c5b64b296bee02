"""One vCPU in QEMU.

While the guest executes, its PE is parked: the machine does other things, or waits for the world
outside. An exit of the guest, seen in the mailbox, brings the PE back into the loop; `run` then
takes the exit and gives the answer. Between an exit and its answer the CPU waits in EL3; should it
have interrupts of its own to take meanwhile, the firmware hears of it and may preempt whoever
computes.

A PE that the firmware gives to somebody else (an SP that handles an interrupt, another vCPU) is
taken from the guest: its CPU is made to stop, and whatever it did before it heard of that waits
until it has the PE again. While others wait for the PE (`PE.queue`), WFI of the guest is an exit,
and it is stopped when its time slice is over.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from ffabric.abi.words import MASK32
from ffabric.machine import exits
from ffabric.machine.context import NO_REGISTERS, REGISTERS
from ffabric.machine.engines.qemu.aborts import fault_of, for_el1
from ffabric.machine.engines.qemu.exchange.interpreted import ANSWER_AT, NONE, REQUEST_AT
from ffabric.machine.machine import EXIT_COST

if TYPE_CHECKING:
    from ffabric.machine.clock import Event
    from ffabric.machine.context import PE, Context, Trap
    from ffabric.machine.engines.qemu.interrupts import InterruptRelay
    from ffabric.machine.engines.qemu.mailbox import Block
    from ffabric.machine.engines.qemu.process import QemuProcess
    from ffabric.machine.engines.qemu.tlb import Tlb
    from ffabric.machine.engines.qemu.trapped import Devices
    from ffabric.machine.faults import Fault
    from ffabric.machine.host.outside import Outside
    from ffabric.machine.machine import Machine


STAY, LOOK = 32, 8
"""How many exits it answers at a stretch if nobody else has anything to do, and after how many of
them it looks whether somebody has."""
_STAYS = range(STAY, -1, -1)
_LOOKING = frozenset(range(LOOK, STAY, LOOK))
_ROUNDS, _LOOKS = range(8), 24
"""After an answer: how often it looks at all that is outside, and at its own CPU in between. That
takes about ten microseconds."""
REMEMBERED = 1 << 20
"""Calls of a vCPU of which it is known what they were and how long they took: the last ones."""
_LAST_CALL = exits.SVC
_ZEROS = (0,) * (REGISTERS - 1)
SLICE = 4_000_000
"""Nanoseconds for which a guest has a PE that others wait for."""
PROGRESS = 1_000_000
"""Nanoseconds for which whoever answers a call of a CPU has the PE at least, if the CPU was told of
interrupts before it made the call: one that never takes them stops nobody for good."""
_MPIDR_RES1 = 1 << 31


class Guest(Protocol):
    """What a vCPU asks of all of them; see `ffabric.machine.engines.qemu.engine.QemuGuest`."""

    outside: Outside
    tlb: Tlb
    devices: Devices | None

    @property
    def process(self) -> QemuProcess:
        """The QEMU."""

    def start(self) -> None:
        """Start it, unless it was started."""

    def done(self) -> None:
        """A device has been accessed."""

    def close(self) -> None:
        """End it."""


class QemuRunner:
    """One vCPU: a `Runner`. Made by `QemuGuest.runner`."""

    exits = frozenset({exits.SMC, exits.HVC, exits.ABORT, exits.IDLE, exits.SLICE})
    """What it may do without having crashed."""

    def __init__(
        self,
        guest: Guest,
        machine: Machine,
        ctx: Context,
        block: Block,
        relay: InterruptRelay | None,
        *,
        level: int,
    ) -> None:
        self.ctx = ctx
        self.instructions = 0
        self._functions = array("I")
        self._round_trips = array("Q")
        self._guest = guest
        self._process = guest.process
        self._tlb = guest.tlb
        self._machine = machine
        self._block = block
        self._exchange = block.exchange
        self._relay = relay
        self._calls = frozenset(kind for kind in self.exits if kind <= _LAST_CALL)
        self._level = level
        self.outside = False
        """The guest executes, and its PE is parked."""
        self._owes = False
        """An exit was taken whose answer has not been given."""
        self._exited = exits.SMC
        """Which it was."""
        self._called: int | None = None
        """The function id of a call that is not in the lists yet, in 32 bits or more."""
        self._announced = False
        self._told = 0
        """In how many exits it has made, the last during which it was told of interrupts."""
        self._patience: Event | None = None
        """When it is told again at the earliest, though it has made the next exit already."""
        self._skipped = 0
        """The address of the instruction after the one that has accessed a device; or 0."""
        self._preempted = False
        """The CPU was told to stop."""
        self._slicing = False
        """... because its time slice is over."""
        self._is_due = False
        """Its time slice was over while it had made a call."""
        self._slice: Event | None = None
        """The end of its time slice, if others wait for its PE."""

    @property
    def cpu(self) -> int:
        """The number of its CPU in QEMU."""
        return self._block.cpu

    @property
    def executes(self) -> bool:
        """Whether the CPU may be executing the guest at this moment."""
        return self._block.executes

    @property
    def signs_of_life(self) -> tuple[int, int]:
        """What changes when the CPU makes an exit or hears its doorbell."""
        return self._block.served, self._block.exits

    @property
    def functions(self) -> array[int]:
        """The function ids of its calls, of many the later ones (`REMEMBERED`)."""
        self._remember()
        return self._functions

    @property
    def round_trips(self) -> array[int]:
        """Known with each call: how long the one before took at the guest's EL3, in ticks."""
        self._remember()
        return self._round_trips

    def __repr__(self) -> str:
        return f"<QemuRunner {self.ctx.name}>"

    def start(self, entry: int, x0: int, others: Mapping[int, int] = NO_REGISTERS) -> None:
        """See `Runner.start`."""
        self._guest.start()
        if self._relay is not None:
            self._relay.open()
        self._owes = False
        self._remember()
        self._block.affinity(_MPIDR_RES1 | self.cpu)
        self._guest.tlb.entering()
        x = [x0, *_ZEROS]
        for register, value in others.items():
            x[register] = value
        self._block.start(entry, x, self._level)

    def run(self, ctx: Context, trap: Trap) -> None:
        """Give the answer, and take the next exit if it is there already, and answer that.

        While nobody else has anything to do it stays for a few exits: directly after an answer it
        looks for some microseconds whether there is another. Wall time passes meanwhile.
        """
        machine = self._machine
        before = machine.exits
        began = self._stay(ctx, trap)
        if began:
            passed = time.monotonic_ns() - began
            machine.clock.advance(max(0, passed - (machine.exits - before) * EXIT_COST))

    def _stay(self, ctx: Context, trap: Trap) -> int:
        """See `run`: since when it has looked (0: not at all), by the host's clock."""
        machine = self._machine
        began = 0
        for stays in _STAYS:
            if self._owes:
                self._owes = self._announced = False
                if self._preempted or self._is_due or self._tlb.code:
                    self._answer_after_changes(ctx)
                else:
                    self._answer(ctx)
                self._answered()
            if self._process.ended:
                ctx.crash = self._process.ended
                trap(ctx, exits.CRASH)
                break
            if stays in _LOOKING:
                self._guest.outside.find()
            if stays and machine.waits_for(ctx.pe, ctx):
                began = began or time.monotonic_ns()
                kind = self._take_soon(ctx.x)
            elif stays == STAY:
                kind = self._exchange.take(ctx.x, 1)
            elif self._block.asks:
                break
            else:
                kind = NONE
            if kind == NONE:
                self._leave(ctx)
                break
            self._exit(ctx, trap, kind)
            pe = ctx.pe
            if not self._owes or pe is None or pe.current is not ctx or pe.idle or machine.stopping:
                break
        return began

    def _take_soon(self, x: list[int]) -> int:
        """Take its next exit, if it makes one before there is something else: its kind."""
        take, outside = self._exchange.take, self._guest.outside
        if not outside.processors.divided:
            return take(x, 1)
        for _ in _ROUNDS:
            kind = take(x, _LOOKS)
            if kind != NONE:
                return kind
            if outside.find():
                return take(x, 1)
        return NONE

    go_on = run

    def _answer_after_changes(self, ctx: Context) -> None:
        """Answer when the CPU was told to stop, or there is code that QEMU has to forget."""
        if self._preempted:
            self._let_go_on()
        self._preempt_if_due(ctx)
        more = self._tlb.entering()
        self._answer(ctx)
        if more:
            self._tlb.entered()

    def _answered(self) -> None:
        """Do what can wait until the CPU goes on: it would wait for it."""
        if self._patience is not None:
            self._machine.clock.cancel(self._patience)
            self._patience = None
        self._remember()

    def _remember(self) -> None:
        if self._called is not None:
            functions, round_trips = self._functions, self._round_trips
            functions.append(self._called & MASK32)
            round_trips.append(self._exchange.ticks)
            self._called = None
            if len(functions) > REMEMBERED:
                del functions[: REMEMBERED // 2], round_trips[: REMEMBERED // 2]

    def _answer(self, ctx: Context) -> None:
        if self._exited <= _LAST_CALL:
            if self._exchange.answer(ctx.x, 0):
                self._block.wake()
        else:
            skipped, self._skipped = self._skipped, 0
            self._block.resume(skipped)

    def _leave(self, ctx: Context) -> None:
        """The guest has the PE."""
        pe = ctx.pe
        assert pe is not None
        if self._preempted:
            self._let_go_on()
        self.outside = True
        pe.outsider = self
        self._share(pe)
        self._preempt_if_due(ctx)
        self._machine.park(pe)

    def _let_go_on(self) -> None:
        self._preempted = self._slicing = False
        self._block.preempt(wanted=False)

    def withdraw(self) -> None:
        """The PE is somebody else's: the guest stops until it has it again."""
        if self.outside:
            self.outside = False
            self._end_slice()
            if not self._block.asks:
                self._preempted = True
                self._block.preempt(wanted=True)

    def _share(self, pe: PE) -> None:
        """Begin a time slice if somebody waits for ``pe``; have no end if nobody does."""
        shared = bool(pe.queue)
        self._block.idles(wanted=shared)
        if not shared:
            self._end_slice()
        elif self._slice is None:
            clock = self._machine.clock
            self._slice = clock.at(clock.now + SLICE, self._time_is_up)

    def _end_slice(self) -> None:
        self._is_due = False
        if self._slice is not None:
            self._machine.clock.cancel(self._slice)
            self._slice = None

    def _time_is_up(self) -> None:
        self._slice = None
        self._is_due = True
        if self.outside:
            self._preempt_if_due(self.ctx)

    def _preempt_if_due(self, ctx: Context) -> None:
        if self._is_due and ctx.pe is not None and ctx.pe.queue:
            self._preempted = self._slicing = True
            self._block.preempt(wanted=True)

    def _exit(self, ctx: Context, trap: Trap, kind: int) -> None:
        """It has exited, which is to be answered; its registers are in the context."""
        self._exited = kind
        if kind in self._calls:
            self._owes = True
            self._called = ctx.x[0]
            trap(ctx, kind)
            return
        if kind == exits.SLICE and not self._slicing:  # it was told to stop, and has the PE again
            self._owes = True
            return
        if kind in (exits.SLICE, exits.IDLE):
            self._end_slice()
        if kind not in self.exits:
            kind = exits.CRASH
            syndrome, address, pc = self._block.crash
            at = f"vCPU {ctx.name}, PC {pc:#x}, ESR {syndrome:#x}, FAR {address:#x}"
            to = "EL3" if self._level else "EL2, and there is no EL1 to take it"
            ctx.crash = f"exception to {to}: {at}"
        else:
            self._owes = True
            if kind == exits.ABORT:
                ctx.fault = fault_of(self._block)
                if self._accesses(ctx.fault):
                    return
        trap(ctx, kind)

    def _accesses(self, fault: Fault) -> bool:
        """Make the access, if it is to a device."""
        guest = self._guest
        if guest.devices is None or not guest.devices.access(fault, self._block):
            return False
        self._skipped = fault.pc + 4
        guest.done()
        return True

    def done(self) -> None:
        """See `QemuGuest.done`."""
        if self._relay is not None:
            self._relay.done()

    def look(self) -> bool:
        """Bring the PE back into the loop if the guest has something for it; see `Source.look`."""
        if not self.outside:
            return self._owes and not self._announced and self._hears()
        pe: PE = self.ctx.pe  # type: ignore[assignment]
        words = self._block.words
        if words[REQUEST_AT] == words[ANSWER_AT] and not self._process.ended:
            if (not pe.queue) is (self._slice is not None):
                self._share(pe)
            return False
        self.outside = False
        pe.outsider = None
        self._machine.unpark(pe)
        return True

    def _hears(self) -> bool:
        """Whether a CPU that waits has something to hear of: its end, or interrupts."""
        relay = self._relay
        if not self._process.ended or relay is None:
            return self._hears_of_interrupts()
        self._announced = True
        relay.wake()
        return True

    def _hears_of_interrupts(self) -> bool:
        """Whether a CPU that waits has interrupts to take, and somebody can be woken for them."""
        relay = self._relay
        if relay is None or not self._block.interrupted or self._patience is not None:
            return False
        if self._exited == exits.IDLE:
            self._announced = True
            relay.wake()
            return True
        if self._block.exits == self._told + 1:
            clock = self._machine.clock
            self._patience = clock.at(clock.now + PROGRESS, self._hear_after_all)
        else:
            self._announce(relay)
        return False

    def _hear_after_all(self) -> None:
        self._patience = None
        relay = self._relay
        if relay is not None and self._owes and self._block.interrupted:
            self._announce(relay)

    def _announce(self, relay: InterruptRelay) -> None:
        """Whoever answers the call of the CPU makes way for its interrupts."""
        self._announced = True
        self._told = self._block.exits
        assert self.ctx.pe is not None
        relay.announce(self.ctx.pe.index)

    def flush(self) -> None:
        """Pass on the interrupts that found no room before."""
        self._block.flush()

    def kick(self) -> None:
        """Nothing to do: `run` never stays."""

    def interrupt(self, kind: int, asserted: bool) -> None:
        """See `Runner.interrupt`. The guest gets interrupts one by one, by their numbers."""
        if asserted and self._relay is not None:
            for intid in self._relay.take():
                self._block.pend(intid)

    def inject_abort(self, syndrome: int, far: int) -> None:
        """See `Runner.inject_abort`."""
        self._block.inject(for_el1(syndrome), far)

    def where(self) -> str:
        """See `Runner.where`: nobody can ask while it executes."""
        return ""

    def close(self) -> None:
        """See `Runner.close`: the whole guest ends."""
        self._guest.close()
