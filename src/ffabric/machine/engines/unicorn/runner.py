"""One vCPU under Unicorn.

What stands above the partition (EL2, EL3, the GIC's CPU interface, time) is not in the emulator:
its instructions end in a hook.

    SMC, HVC; SVC without an EL1       -> the call exits
    stage-2 fault                      -> ABORT
    WFI (SCR_EL3.TWI traps it)         -> IDLE, unless an interrupt line is asserted
    interrupt line asserted            -> taken by the emulator when the architecture takes it
    exception to the partition itself  -> taken here (`Exceptions`), execution goes on
    MRS, MSR of counters, timers, GIC  -> answered by `SystemRegisters`
    instruction budget, `kick`         -> SLICE
    exceptions without end, wedged     -> CRASH (`endless`)

What happens between two exits, over and over, is the inner loop (`inner_loop`), which is there in
Python and in C. A call that is answered at once never leaves the emulator. Everything else that
changes where execution goes on (injected aborts, dropping translated code) happens between two
stretches of execution, in `_apply_pending`. The hook of an instruction ends its stretch by lowering
the instruction limit, which is exact. The hook of an exception stops the emulator: an instruction
that cannot be fetched never begins, and no limit would end a row of such aborts.

Time is what was executed: an instruction takes `instruction_time`, one nanosecond if nothing else
is said, and reading a counter takes `counter_step` more, so that a loop on a counter ends soon. A
stretch never runs over the next deadline of the clock, hence timers are exact to the instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from ffabric.machine import exits
from ffabric.machine.context import FIQ, IRQ, NO_REGISTERS, Trap
from ffabric.machine.engines.unicorn import endless, native
from ffabric.machine.engines.unicorn import exceptions as el
from ffabric.machine.engines.unicorn.boot import HPFAR_EL2, power_on
from ffabric.machine.engines.unicorn.code import TranslatedCode
from ffabric.machine.engines.unicorn.devices import Devices
from ffabric.machine.engines.unicorn.fault_report import (
    ExceptionState,
    FaultReport,
    Symbols,
    exception,
)
from ffabric.machine.engines.unicorn.inner_loop.interpreted import CALLS, CALLS_OF_EL0, InnerLoop
from ffabric.machine.engines.unicorn.package import arm, uc
from ffabric.machine.engines.unicorn.system import GENERAL, SystemRegisters
from ffabric.machine.faults import DATA, FETCH, Fault

if TYPE_CHECKING:
    from ffabric.machine.bus import Bus
    from ffabric.machine.clock import Clock
    from ffabric.machine.context import Context
    from ffabric.machine.engines.unicorn.inner_loop.interpreted import Siblings
    from ffabric.machine.memory import PhysicalMemory

Sysreg = Callable[["Context", str, bool, int], int | None]
"""(context, name, write, value) -> the value read, or any for a write; None: it is undefined."""

_LINES = {IRQ: native.INTERRUPT_LINES["IRQ"], FIQ: native.INTERRUPT_LINES["FIQ"]}

_SEEN = 4
"""Places of a wedged vCPU that are told."""


class Engine(Protocol):
    """What a vCPU shares with all others, see `UnicornEngine`: times are in nanoseconds."""

    memory: PhysicalMemory
    bus: Bus
    clock: Clock
    sysreg: Sysreg | None
    slice: int
    counter_step: int
    instruction_time: int
    model: str
    wedged_after: int
    features: frozenset[str]

    def tell_missing(self, name: str, feature: str, place: str) -> None:
        """The vCPU `name` has executed an instruction that needs a feature which is not there."""


class UnicornRunner(InnerLoop):
    """One vCPU: a `Runner`. Made by `UnicornEngine.runner`."""

    wedged = False
    """Whether it has crashed because it made no call any more."""

    _report: FaultReport  # from the first `start` on
    _exceptions: el.Exceptions
    _registers: SystemRegisters

    def __init__(
        self,
        engine: Engine,
        siblings: Siblings,
        *,
        level: int,
        mpidr: int,
        secure: bool,
        gic: bool,
        name: str = "",
        symbols: Symbols | None = None,
    ) -> None:
        self.level = level
        self.mpidr = mpidr
        self.counter_step = engine.counter_step
        self._instruction_time = engine.instruction_time
        self.instructions = 0
        self._engine = engine
        self._clock = engine.clock
        self._siblings = siblings
        self._stage2 = siblings.stage2
        self._secure = secure
        self._gic = gic
        self._name = name or f"{mpidr:#x}"
        self._symbols = symbols
        sve = "sve" in engine.features
        self._undefined_kinds = el.UNDEFINED if sve else el.UNDEFINED_WITHOUT_SVE
        self._calls = CALLS if level else CALLS_OF_EL0
        self._slice = engine.slice
        self.interpreted = False
        self._started = False
        self._dead = f"{self} was never started"
        self._lines = 0
        self._inside = False

    def __repr__(self) -> str:
        return f"<UnicornRunner {self.mpidr:#x} EL{self.level}>"

    # Life

    def start(self, entry: int, x0: int, others: Mapping[int, int] = NO_REGISTERS) -> None:
        """See `Runner.start`. The emulator is a new one: nothing of the past is left in it."""
        if self._started:
            self._emulator.close()
        engine = self._engine
        self._emulator = emulator = power_on(
            engine.memory,
            engine.model,
            level=self.level,
            mpidr=self.mpidr,
            stage2=self._stage2,
            secure=self._secure,
            features=engine.features,
        )
        self._started = True
        Devices(self, emulator, engine.bus, secure=self._secure)
        self._translated = TranslatedCode(emulator, engine.memory)
        self._x = native.Registers(emulator.handle, *GENERAL[:18])
        self._exceptions = el.Exceptions(emulator)
        self._report = FaultReport(emulator, self._symbols, engine.features)
        self._pc = native.Registers(emulator.handle, arm.UC_ARM64_REG_PC)
        hook, user = self._hook()
        emulator.hook(uc.UC_HOOK_INTR, hook, user=user)
        self._registers = SystemRegisters(
            self,
            emulator,
            self._exceptions,
            self._clock,
            gic=self._gic,
            features=engine.features,
        )
        emulator.write(arm.UC_ARM64_REG_X0, x0)
        for register, value in others.items():
            emulator.write(GENERAL[register], value)
        emulator.write(arm.UC_ARM64_REG_PC, entry)
        self._dead = ""
        self.wedged = False
        self._lines = 0
        self._abort: tuple[int, int] | None = None
        self._refused = False
        self._kicked = False
        self._answer = False
        self._error: BaseException | None = None
        self._counted = 0
        self._excepted: ExceptionState | None = None
        self._row = endless.Exceptions()
        self._wedge = endless.Wedge(engine.wedged_after)
        self._called_at = self.instructions
        self._quiet_limit = self._wedge.limit
        self._long_quiet = self._quiet_limit - engine.slice
        self._generation = self._stage2.generation if self._stage2 else 0
        self._tlb = self._siblings.tlb
        self._code = self._siblings.code
        self._fresh = False
        self._vectors: native.Vectors | None = None

    def close(self) -> None:
        """See `Runner.close`."""
        if self._started:
            self._emulator.close()
            self._started = False
        self._dead = f"{self} is closed"

    def where(self) -> str:
        """See `Runner.where`."""
        if not self._started:
            return ""
        pc, pstate = self._exceptions.pc_pstate()
        return self._report.state(self._name, pc, pstate, self._excepted)

    def registers(self) -> dict[str, int]:
        """All general registers, sp, pc and pstate, for whoever wants to look at them."""
        read = self._emulator.read
        found = {f"x{n}": read(register) for n, register in enumerate(GENERAL[:31])}
        pc, pstate = self._exceptions.pc_pstate()
        return found | {"sp": read(arm.UC_ARM64_REG_SP), "pc": pc, "pstate": pstate}

    @property
    def emulator(self) -> native.Emulator:
        """The emulator that executes it, for an instrument."""
        return self._emulator

    def end_before(self) -> None:
        """From the hook of an instruction: end the present stretch before it executes."""
        emulator = self._emulator
        emulator.limit.value = min(emulator.limit.value, emulator.executed.value - 1)
        emulator.stop()

    # What others ask of it

    def interrupt(self, kind: int, asserted: bool) -> None:
        """See `Runner.interrupt`. A partition without an EL1 takes no interrupts."""
        bit = _LINES[kind] if self.level else 0
        raised = asserted and bit & ~self._lines
        self._lines = self._lines | bit if asserted else self._lines & ~bit
        if self._started:
            self._emulator.interrupts.value = self._lines
        if raised and self._inside:
            self.end_within(0)

    def inject_abort(self, syndrome: int, far: int) -> None:
        """See `Runner.inject_abort`. What only a stage-2 syndrome says is cleared."""
        self._abort = (syndrome & ~el.ISS_STAGE2, far)
        if self._inside:
            self.end_within(0)

    # What EL3 asks of it besides, where no EL2 is between them

    def branch(self, pc: int) -> None:
        """Go on at `pc` with x0-x17 of ``ctx.x``, all else as it was; nothing may be executing."""
        self._emulator.write(arm.UC_ARM64_REG_PC, pc)
        self._answer = True

    def vectors(self) -> bytes:
        """V0-V31, FPCR and FPSR. Unicorn knows no traps of CPACR_EL1."""
        if self._vectors is None:
            self._vectors = native.Vectors(self._emulator.handle)
        self._vectors.read()
        return self._vectors.data.tobytes()

    def set_vectors(self, state: bytes) -> None:
        """Set what `vectors` has read."""
        assert self._vectors is not None
        self._vectors.data[:] = state
        self._vectors.write()

    def go_on(self, ctx: Context, trap: Trap) -> None:
        """See `Runner.go_on`."""
        if self._started:
            self._slice = max(1, self._slice_end - self.instructions)
        try:
            self.run(ctx, trap)
        finally:
            self._slice = self._engine.slice

    # What the inner loop leaves to it

    def _cannot_run(self, ctx: Context, trap: Trap) -> None:
        ctx.crash = self._dead
        trap(ctx, exits.CRASH)

    def _after(self, error: int) -> None:
        if self._emulator.lost:
            self.fail(self._emulator.lost.pop(0))
        if self._error is not None:
            raised, self._error = self._error, None
            raise raised
        if not self._going:
            return
        if error:
            self._nothing_there(error)
        elif self._refused:
            self._refused = False
            self._deliver(el.IL, None, back=4)
        if self._going and self.instructions - self._called_at >= self._quiet_limit:
            self._look_if_wedged()
        if self._going and (self._kicked or self.instructions >= self._slice_end):
            self._kicked = False
            self._slice_end = self.instructions + self._engine.slice
            self._leave(exits.SLICE)

    def _cut_slice(self, quiet: int, budget: int) -> int:
        return self._wedge.budget(quiet, budget)

    def _apply_pending(self) -> None:
        if self._code != self._siblings.code:
            self._code = self._siblings.code
            self._translated.drop_if_changed()
            self._fresh = True
        if self._abort is not None:
            (syndrome, far), self._abort = self._abort, None
            fault = self._excepted
            ipa = fault.ipa if fault is not None and fault.far == far else None
            self._deliver(syndrome, far, ipa=ipa)

    # What its hooks tell it

    def invalidate_tlb(self) -> None:
        """A TLBI was executed, which took effect here."""
        self._siblings.tlb += 1
        self._tlb = self._siblings.tlb

    def invalidate_code(self) -> None:
        """An IC was executed. Others may have stored code before the last exit, but not since."""
        self._siblings.code += 1
        if self._fresh:
            self._code = self._siblings.code
        else:
            self.end_within(0)

    def refuse(self) -> None:
        """The instruction that is being executed is undefined."""
        self._refused = True
        self.end_within(0)

    def sysreg(self, name: str, value: int, *, write: bool) -> int | None:
        """Ask whoever models the register; None: it is undefined."""
        handler = self._engine.sysreg
        answer = None if handler is None else handler(self._context, name, write, value)
        self.keep_deadline()
        return answer

    # Exits

    def _leave(self, exit_: int) -> None:
        """Take an exit that is no call to the trap."""
        ctx = self._context
        self._x.read()
        ctx.x[:] = self._x.words.tolist()
        self._fresh = False
        if self._trap(ctx, exit_):
            self._go_on()
        else:
            self._going = False
            self._emulator.stop()

    def _exception(self) -> None:
        """Everything but calls."""
        if self._refused:  # and the next instruction could not even be fetched
            self._refused = False
            self._deliver(el.IL, None, back=4)
            return
        syndrome, address, target = self._emulator.exception()
        kind = syndrome >> el.EC_SHIFT
        if target == 2 and kind in el.ABORTS and self._stage2 is not None:
            self._stage2_fault(syndrome, address)
        elif kind == el.EC_WFX and target == 3:
            self._wait()
        elif kind in self._undefined_kinds or target > max(self.level, 1):
            self._undefined()  # or trapped to a level that this vCPU does not have
        else:
            syndrome |= el.IL if kind == el.EC_SVE else 0  # which Unicorn forgets
            self._deliver(syndrome, address if kind in el.WITH_ADDRESS else None, target=target)
        if self._going:
            self._go_on()

    def _wait(self) -> None:
        pc, _ = self._exceptions.pc_pstate()
        self._emulator.write(arm.UC_ARM64_REG_PC, pc + 4)
        self._row.ends()
        if not self._lines:
            self._leave(exits.IDLE)

    def _undefined(self) -> None:
        pc, _ = self._exceptions.pc_pstate()
        word = self._emulator.instruction(pc)
        if word is not None and self._registers.emulate(word):
            self._emulator.write(arm.UC_ARM64_REG_PC, pc + 4)
        else:
            if word is not None and (missing := self._report.missing(word)):
                self._engine.tell_missing(self._name, missing, self._report.place(pc))
            self._deliver(el.IL, None)

    def _stage2_fault(self, syndrome: int, va: int) -> None:
        page = self._emulator.read_system(HPFAR_EL2) >> 4 << 12
        fetch = syndrome >> el.EC_SHIFT in el.FETCHES
        walk = bool(syndrome & el.ISS_WALK)
        ipa = page if walk else page | va & 0xFFF
        self._excepted = ExceptionState(self._exceptions.pc_pstate()[0], syndrome, va, ipa)
        self._context.fault = Fault(
            kind=FETCH if fetch else DATA,
            ipa=ipa,
            va=va,
            write=bool(syndrome & el.ISS_WRITE) and not fetch and not walk,
            syndrome=syndrome,
            pc=self._exceptions.pc_pstate()[0],
        )
        self._leave(exits.ABORT)

    def _nothing_there(self, error: int) -> None:
        """An access to a physical address without memory: a synchronous external abort."""
        access = native.UNMAPPED.get(error)
        if access is None:
            self._crash(f"Unicorn's error {error}")
            return
        kind = el.EC_FETCH_LOWER if access == "fetch" else el.EC_DATA_LOWER
        iss = el.ISS_EXTERNAL | el.ISS_FAR_INVALID | (el.ISS_WRITE if access == "write" else 0)
        self._deliver(kind << el.EC_SHIFT | el.IL | iss, 0)

    def _deliver(
        self,
        syndrome: int,
        far: int | None,
        *,
        ipa: int | None = None,
        target: int | None = None,
        back: int = 0,
    ) -> None:
        """Take a synchronous exception to the partition itself; a crash if it has no EL1."""
        pc, pstate = self._exceptions.pc_pstate()
        taken = ExceptionState(pc - back, syndrome, far, ipa)
        source = pstate >> 2 & 3
        target = target or max(source, 1)
        if self.level == 0:
            self._crash("an exception, and there is no EL1 to take it", taken)
        elif self._row.unending(
            taken, self.instructions, self._called_at, same_level=source == target
        ):
            first = self._row.first
            at = f"PC {first.pc:#x}{self._report.symbol(first.pc)}"
            self._crash(f"exceptions without end, the first at {at}, {exception(first)}", taken)
        else:
            if syndrome >> el.EC_SHIFT in el.ABORTS:
                same = el.EC_SAME_LEVEL if source == target else 0
                syndrome = syndrome & ~el.EC_SAME_LEVEL | same
            self._exceptions.take(target, el.SYNCHRONOUS, syndrome=syndrome, far=far, back=back)

    def _look_if_wedged(self) -> None:
        pc, _ = self._exceptions.pc_pstate()
        wedge = self._wedge
        if wedge.sample(pc, self._called_at):
            self.wedged = True
            seen = ", ".join(
                f"{at:#x}{self._report.symbol(at)} ({times}x)" for at, times in wedge.pcs()[:_SEEN]
            )
            self._crash(f"wedged: {wedge.limit} instructions without a call; seen at {seen}")

    def _crash(self, why: str, taken: ExceptionState | None = None) -> None:
        pc, pstate = self._exceptions.pc_pstate()
        state = self._report.state(self._name, pc if taken is None else taken.pc, pstate, taken)
        self._dead = self._context.crash = f"{why}: {state}"
        self._excepted = taken
        self._x.read()
        self._context.x[:] = self._x.words.tolist()
        self._going = False
        self._emulator.stop()
        self._trap(self._context, exits.CRASH)
