"""Taking exceptions: what the processor does that Unicorn leaves out.

Unicorn stops where an exception would be taken and changes nothing. `Exceptions.take` then does
what AArch64.TakeException does (Arm ARM DDI 0487, J1.3.3): it banks the stack pointer, fills
ESR, FAR, ELR and SPSR of the level that takes it, masks interrupts and goes to the vector.
Returning (ERET) Unicorn does itself.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from ffabric.machine.engines.unicorn.native import Emulator, Registers
from ffabric.machine.engines.unicorn.package import arm

SYNCHRONOUS = 0x000  # vectors (DDI 0487, D1.3.1), from a level and stack by the offsets below
IRQ = 0x080
FIQ = 0x100
_FROM_SP_ELX = 0x200
_FROM_LOWER = 0x400

EC_UNKNOWN = 0x00  # exception classes (DDI 0487, D19.2.40 ESR_ELx.EC)
EC_WFX = 0x01
EC_SVE = 0x19
EC_FETCH_LOWER = 0x20
EC_DATA_LOWER = 0x24
EC_SHIFT = 26
EC_SAME_LEVEL = 1 << EC_SHIFT  # of the abort classes
IL = 1 << 25  # a 32-bit instruction
ISS_WRITE = 1 << 6  # WnR, data aborts
ISS_WALK = 1 << 7  # S1PTW: the fault is on a stage 1 walk
ISS_STAGE2 = 0x7FF << 14 | ISS_WALK  # ISV to AR, and S1PTW: stage-2 data aborts only
ISS_FAR_INVALID = 1 << 10  # FnV
ISS_EXTERNAL = 0x10  # synchronous external abort, not on a walk

ABORTS = frozenset((EC_FETCH_LOWER, EC_FETCH_LOWER | 1, EC_DATA_LOWER, EC_DATA_LOWER | 1))
UNDEFINED = frozenset((EC_UNKNOWN,))
UNDEFINED_WITHOUT_SVE = UNDEFINED | {EC_SVE}
FETCHES = frozenset((EC_FETCH_LOWER, EC_FETCH_LOWER | 1))
WITH_ADDRESS = ABORTS | {0x22, 0x34, 0x35}  # PC alignment and watchpoints also set FAR

PSTATE_SP = 1 << 0
PSTATE_F = 1 << 6
PSTATE_I = 1 << 7
PSTATE_DAIF = 0xF << 6
PSTATE_PAN = 1 << 22
_PSTATE_KEPT = 0xF << 28 | PSTATE_PAN | 1 << 24  # NZCV, PAN and DIT outlive an exception
_SCTLR_SPAN = 1 << 23

ESR = {1: arm.UC_ARM64_REG_ESR_EL1, 2: arm.UC_ARM64_REG_ESR_EL2}
FAR = {1: arm.UC_ARM64_REG_FAR_EL1, 2: arm.UC_ARM64_REG_FAR_EL2}
ELR = {1: arm.UC_ARM64_REG_ELR_EL1, 2: arm.UC_ARM64_REG_ELR_EL2}
_VBAR = {1: arm.UC_ARM64_REG_VBAR_EL1, 2: arm.UC_ARM64_REG_VBAR_EL2}
_SP = (arm.UC_ARM64_REG_SP_EL0, arm.UC_ARM64_REG_SP_EL1, arm.UC_ARM64_REG_SP_EL2)
_SPSR = {1: (3, 0, 4, 0, 0), 2: (3, 4, 4, 0, 0)}
_SCTLR = {1: (3, 0, 1, 0, 0), 2: (3, 4, 1, 0, 0)}
_ID_AA64MMFR1 = (3, 0, 0, 7, 1)


class _Entry(NamedTuple):
    """What an exception to one level reads, and what it writes."""

    before: Registers
    after: Registers


class Exceptions:
    """The exception entries of one processor."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._state = Registers(emulator.handle, arm.UC_ARM64_REG_PC, arm.UC_ARM64_REG_PSTATE)
        self._entries: dict[int, _Entry] = {}
        """By level: what most software below an EL2 never needs is made with the first one."""

    @cached_property
    def _has_pan(self) -> bool:
        return bool(self._emulator.read_system(_ID_AA64MMFR1) >> 20 & 15)

    def _entry(self, level: int) -> _Entry:
        handle = self._emulator.handle
        before = Registers(
            handle,
            arm.UC_ARM64_REG_PC,
            arm.UC_ARM64_REG_PSTATE,
            arm.UC_ARM64_REG_SP,
            _SP[level],
            _VBAR[level],
            ESR[level],
            FAR[level],
            _SCTLR[level],
        )
        # The system register comes last: it makes Unicorn notice the new PSTATE.
        after = Registers(
            handle,
            arm.UC_ARM64_REG_SP_EL0,
            arm.UC_ARM64_REG_SP,
            ESR[level],
            FAR[level],
            ELR[level],
            arm.UC_ARM64_REG_PSTATE,
            arm.UC_ARM64_REG_PC,
            _SPSR[level],
        )
        entry = self._entries[level] = _Entry(before, after)
        return entry

    def pc_pstate(self) -> tuple[int, int]:
        """The program counter and PSTATE (in the form of an SPSR)."""
        self._state.read()
        pc, pstate = self._state.words
        return pc, pstate

    def take(
        self,
        level: int,
        vector: int,
        *,
        syndrome: int | None = None,
        far: int | None = None,
        back: int = 0,
    ) -> None:
        """Take an exception to EL1 or EL2 with the preferred return address PC less `back`.

        `vector` is `SYNCHRONOUS`, `IRQ` or `FIQ`; ESR and FAR keep their values for None.
        """
        before, after = self._entries.get(level) or self._entry(level)
        before.read()
        words = before.words
        pc, pstate, sp, sp_level, vbar, esr, old_far, sctlr = (words[n] for n in before.place)
        source = pstate >> 2 & 3
        on_own_stack = pstate & PSTATE_SP
        bank = source if on_own_stack else 0
        new = pstate & _PSTATE_KEPT | PSTATE_DAIF | level << 2 | PSTATE_SP
        if level == 1 and self._has_pan and not sctlr & _SCTLR_SPAN:
            new |= PSTATE_PAN
        if source != level:
            vector += _FROM_LOWER
        elif on_own_stack:
            vector += _FROM_SP_ELX
            sp_level = sp
        after.ids[0] = _SP[bank]
        values = (
            sp,
            sp_level,
            esr if syndrome is None else syndrome,
            old_far if far is None else far,
            pc - back,
            new,
            vbar + vector,
            pstate,
        )
        for place, value in zip(after.place, values, strict=True):
            after.words[place] = value
        after.write()
