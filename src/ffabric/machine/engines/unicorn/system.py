"""The system registers and instructions of a vCPU that Unicorn lacks or answers in host time.

Three ways lead here. MRS and MSR of registers that Unicorn has call a hook (`_mrs`, `_msr`):
identification, counters and timers. Those it does not have are undefined instructions, which the
runner hands to `emulate`: the GIC's CPU interface. TLBI and IC (`_sys`) only reach the emulator
that executes them, so they are told to the runner, for the partition's other vCPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from ctypes import c_uint32
from typing import TYPE_CHECKING, Protocol

from ffabric.abi.words import MASK64
from ffabric.machine.engines.unicorn import native, sysregs
from ffabric.machine.engines.unicorn.package import arm, uc

if TYPE_CHECKING:
    from ctypes import _Pointer

    from ffabric.machine.clock import Clock
    from ffabric.machine.engines.unicorn.exceptions import Exceptions

    Words = _Pointer[c_uint32]

GENERAL = (
    *(arm.UC_ARM64_REG_X0 + n for n in range(29)),
    arm.UC_ARM64_REG_X29,
    arm.UC_ARM64_REG_X30,
    arm.UC_ARM64_REG_XZR,
)
"""Unicorn's numbers of the general registers, by their number in an instruction."""

_MRS_CRN = frozenset((0, 2, 9, 14))  # of all registers that are answered; the rest is native
_TIMER_CRN = 14
_IC_CRN, _IC_CRM = 7, (1, 5)
_TLBI_CRN = 8

_CNTKCTL_EL1 = (3, 0, 14, 1, 0)
_CNTVOFF_EL2 = (3, 4, 14, 0, 3)
_ALLOWED_AT_EL0 = {  # the bit of CNTKCTL_EL1
    sysregs.CNTPCT_EL0: 0,
    sysregs.CNTVCT_EL0: 1,
    **dict.fromkeys((sysregs.key(3, 3, 14, 3, n) for n in range(3)), 8),
    **dict.fromkeys((sysregs.key(3, 3, 14, 2, n) for n in range(3)), 9),
}
_LOWEST_LEVEL = {3: 0, 4: 2, 7: 1}  # by op1; whose CNTPS_* they are, who answers decides
_RANDOM_STEP = 0x9E3779B97F4A7C15  # SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)


class Owner(Protocol):
    """The runner, as its system registers see it."""

    level: int
    mpidr: int
    counter_step: int

    def sysreg(self, name: str, value: int, *, write: bool) -> int | None:
        """Ask whoever models the register; None: it is undefined."""

    def spend(self, ns: int) -> None:
        """Account for what was executed, and let `ns` more pass."""

    def invalidate_tlb(self) -> None:
        """A TLBI was executed."""

    def invalidate_code(self) -> None:
        """An IC was executed."""

    def refuse(self) -> None:
        """The instruction that is being executed is undefined."""

    def fail(self, error: BaseException) -> None:
        """Something went wrong in a hook: raise it outside the emulator."""


class SystemRegisters:
    """The registers of one vCPU that are answered outside its emulator."""

    def __init__(
        self,
        owner: Owner,
        emulator: native.Emulator,
        exceptions: Exceptions,
        clock: Clock,
        *,
        gic: bool,
        features: Container[str] = (),
    ) -> None:
        self._owner = owner
        self._emulator = emulator
        self._exceptions = exceptions
        self._clock = clock
        self._random = owner.mpidr
        self._constants = self._identification(features, gic=gic)
        self._readers: dict[int, Callable[[int, int], int | None]] = {
            **dict.fromkeys(self._constants, self._constant),
            **dict.fromkeys(sysregs.TIMERS, self._read_timer),
            sysregs.MPIDR_EL1: self._affinity,
            sysregs.CNTPCT_EL0: self._counter,
            sysregs.CNTVCT_EL0: self._counter,
            sysregs.PMCCNTR_EL0: self._nanoseconds,
            sysregs.RNDR: self._next_random,
            sysregs.RNDRRS: self._next_random,
        }
        emulator.hook(uc.UC_HOOK_INSN, native.SystemHook(self._mrs), arm.UC_ARM64_INS_MRS)
        emulator.hook(uc.UC_HOOK_INSN, native.SystemHook(self._msr), arm.UC_ARM64_INS_MSR)
        emulator.hook(uc.UC_HOOK_INSN, native.SystemHook(self._sys), arm.UC_ARM64_INS_SYS)

    def _identification(self, features: Container[str], *, gic: bool) -> dict[int, int]:
        """The ID registers that must not say what Unicorn says.

        ID_AA64PFR0_EL1: AArch64 only, the GIC and SVE as told. ID_AA64PFR1_EL1: BTI as told.
        ID_AA64ISAR0_EL1: no RNDR. ID_AA64ISAR1_EL1: pointer authentication as told.
        ID_AA64DFR0_EL1: no PMU, whose cycles are host time.
        """
        aa64pfr0, aa64pfr1, aa64isar0, aa64isar1, aa64dfr0 = self._emulator.read_systems(
            (3, 0, 0, 4, 0), (3, 0, 0, 4, 1), (3, 0, 0, 6, 0), (3, 0, 0, 6, 1), (3, 0, 0, 5, 0)
        )
        sve = 0 if "sve" in features else 0xF << 32
        pauth = 0 if "pauth" in features else 0xFF << 24 | 0xFF << 4
        pfr0 = aa64pfr0 & ~(sve | 0xF << 24 | 0xFFFF) | 0x1111
        return {
            sysregs.ID_AA64PFR1_EL1: aa64pfr1 & ~(0 if "bti" in features else 0xF),
            sysregs.ID_AA64ISAR1_EL1: aa64isar1 & ~pauth,
            sysregs.ID_AA64PFR0_EL1: pfr0 | gic << 24,
            sysregs.ID_AA64DFR0_EL1: aa64dfr0 & ~(0xF << 8),
            sysregs.ID_AA64ISAR0_EL1: aa64isar0 & ~(0xF << 60),
        }

    def emulate(self, word: int) -> bool:
        """Execute an MRS or MSR that Unicorn does not know; False if it is undefined here too."""
        access = sysregs.decode(word)
        if access is None:
            return False
        number, write, xt = access
        name = sysregs.name_of(number)
        if self._level() < (2 if name.endswith("_EL2") else 1):
            return False
        register = GENERAL[xt]
        value = self._emulator.read(register) if write else 0
        answer = self._owner.sysreg(name, value, write=write)
        if answer is None:
            return False
        if not write:
            self._emulator.write(register, answer)
        return True

    def _level(self) -> int:
        return self._exceptions.pc_pstate()[1] >> 2 & 3

    # Hooks. They answer 1 if the instruction is done with, 0 if Unicorn is to execute it.

    def _mrs(self, _engine: int, register: int, words: Words, _user: int) -> int:
        if words[0] not in _MRS_CRN:
            return 0
        try:
            number = sysregs.key(words[2], words[3], words[0], words[1], words[4])
            reader = self._readers.get(number)
            if reader is None:
                return 0
            value = reader(number, self._level())
            if value is None:
                return 0
            self._emulator.write(register, value)
        except BaseException as error:  # noqa: BLE001 - raised again outside the emulator
            self._owner.fail(error)
        return 1

    def _msr(self, _engine: int, _register: int, words: Words, _user: int) -> int:
        if words[0] != _TIMER_CRN:
            return 0
        try:
            number = sysregs.key(words[2], words[3], words[0], words[1], words[4])
            name = sysregs.TIMERS.get(number)
            if name is None or not self._allowed(number, self._level()):
                return 0
            self._owner.spend(0)
            if self._owner.sysreg(name, words[6] | words[7] << 32, write=True) is None:
                self._owner.refuse()
        except BaseException as error:  # noqa: BLE001 - raised again outside the emulator
            self._owner.fail(error)
        return 1

    def _sys(self, _engine: int, _register: int, words: Words, _user: int) -> int:
        crn = words[0]
        if crn == _TLBI_CRN:
            self._owner.invalidate_tlb()
        elif crn == _IC_CRN and words[1] in _IC_CRM:
            self._owner.invalidate_code()
        return 0

    # What is read. The arguments are the register and the present exception level.

    def _allowed(self, number: int, level: int) -> bool:
        """Whether an access is not trapped or undefined, which Unicorn knows better."""
        if level:
            return level >= _LOWEST_LEVEL[number >> 11 & 7]
        bit = _ALLOWED_AT_EL0.get(number)
        return bit is not None and bool(self._emulator.read_system(_CNTKCTL_EL1) >> bit & 1)

    def _constant(self, number: int, level: int) -> int | None:
        return self._constants[number] if level else None

    def _affinity(self, _number: int, level: int) -> int | None:
        return self._owner.mpidr if level == self._owner.level and level else None

    def _counter(self, number: int, level: int) -> int | None:
        if not self._allowed(number, level):
            return None
        self._owner.spend(self._owner.counter_step)
        now = self._clock.counter()
        if number == sysregs.CNTVCT_EL0 and self._owner.level == 2:
            now -= self._emulator.read_system(_CNTVOFF_EL2)
        return now & MASK64

    def _read_timer(self, number: int, level: int) -> int | None:
        if not self._allowed(number, level):
            return None
        self._owner.spend(self._owner.counter_step)
        value = self._owner.sysreg(sysregs.TIMERS[number], 0, write=False)
        if value is None:
            self._owner.refuse()
            return 0
        return value

    def _nanoseconds(self, _number: int, level: int) -> int | None:
        if not level:
            return None
        self._owner.spend(0)
        return self._clock.now

    def _next_random(self, _number: int, _level: int) -> int:
        """SplitMix64 from MPIDR on: hidden by ID_AA64ISAR0_EL1, but never of the host."""
        self._random = self._random + _RANDOM_STEP & MASK64
        z = self._random
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK64
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK64
        self._emulator.write(arm.UC_ARM64_REG_NZCV, 0)
        return z ^ z >> 31
