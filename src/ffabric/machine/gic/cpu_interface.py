"""The CPU interface of one PE: the ICC_* system registers (Arm IHI 0069, 12.2).

What the PE may take next depends on four things (4.8): the group is enabled, the priority is higher
than the priority mask (ICC_PMR_EL1), it is higher than the running priority (that of the most
urgent active interrupt, kept as one bit for each group priority in ICC_AP*R0), and so by the group
priority, whose width the binary point chooses. Reading ICC_IAR activates the interrupt and sets its
bit; writing ICC_EOIR clears the highest bit (the priority drop) and, unless EOImode says that
ICC_DIR does it, deactivates the interrupt.

ICC_PMR_EL1 and the running priority are one for both Security states, which is why priorities are
halved: a Non-secure write cannot mask a Secure interrupt in the upper half. An acknowledge by one
world looks past pending interrupts of the other: they are not for it to see, and on hardware they
could have become pending an instant later. The registers of Group 0 are EL3's: a Non-secure access
finds them RAZ/WI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ffabric.abi.words import MASK32
from ffabric.machine.gic.interrupts import (
    GROUP0,
    GROUP1NS,
    GROUP1S,
    PRIORITY_MASK,
    from_non_secure_priority,
    non_secure_priority,
)

SPURIOUS = 1023
"""The INTID of no interrupt (2.2.1)."""

IDLE_PRIORITY = 0xFF

PRIORITY_SHIFT = 3
"""From a priority to its bit in ICC_AP*R0: 32 group priorities."""

CTLR_CBPR = 1 << 0
CTLR_EOIMODE = 1 << 1
CTLR_FIXED = 4 << 8 | 1 << 15 | 1 << 19
"""PRIbits (5 bits of priority), A3V."""

SRE_EL1 = 0b0111
"""SRE, DFB, DIB: system registers only."""
SRE_EL2 = 0b1111
"""SRE, DFB, DIB, Enable: EL1 may use system registers, too."""

MINIMUM_BINARY_POINT = (2, 2, 3)
"""By group: 5 bits of priority, of which Non-secure Group 1 has one fewer."""


Candidates = Sequence[tuple[int, int] | None]
"""By group, the most urgent interrupt as (priority, INTID)."""


class Arbiter(Protocol):
    """What the CPU interfaces ask of the GIC; see `ffabric.machine.gic.gic.Gic`."""

    def best(self, pe: int) -> Candidates:
        """By group, the most urgent pending and enabled interrupt of a PE."""

    def changed(self, pe: int | None = None) -> None:
        """What is pending may have changed for ``pe`` (None: for every PE)."""

    def acknowledge(self, pe: int, intid: int) -> None:
        """Make an interrupt active."""

    def deactivate(self, pe: int, intid: int) -> None:
        """Make it active no more."""

    def group(self, intid: int, pe: int | None = None) -> int:
        """The group of an interrupt."""

    def implemented(self, intid: int) -> bool:
        """Whether there is such an interrupt."""

    def generate_sgi(self, source: int, group: int, value: int, *, secure: bool) -> None:
        """Carry out a write of ``value`` to an ICC_SGI*R of PE ``source``."""


class CpuInterface:
    """The state behind the ICC registers of PE ``pe``; lists are indexed by group."""

    __slots__ = ("active_priorities", "binary_point", "control", "enables", "gic", "pe", "pmr")

    def __init__(self, gic: Arbiter, pe: int) -> None:
        self.gic = gic
        self.pe = pe
        self.pmr = 0
        self.enables = [0, 0, 0]
        self.binary_point = list(MINIMUM_BINARY_POINT)
        self.active_priorities = [0, 0, 0]
        self.control = [0, 0]
        """The writable bits of ICC_CTLR_EL1: Non-secure, Secure."""

    def running_priority(self) -> int:
        """The priority of the most urgent active interrupt, 0xFF if none is active."""
        group0, group1s, group1ns = self.active_priorities
        active = group0 | group1s | group1ns
        return ((active & -active).bit_length() - 1) << PRIORITY_SHIFT if active else IDLE_PRIORITY

    def group_priority(self, group: int, priority: int) -> int:
        """``priority`` without its subpriority bits (4.8.2)."""
        if group != GROUP0 and self.control[group == GROUP1S] & CTLR_CBPR:
            group = GROUP0
        subpriority_bits = self.binary_point[group] + (group != GROUP1NS)
        return priority >> subpriority_bits << subpriority_bits

    def can_take(self, group: int, priority: int) -> bool:
        """The PE is signalled an interrupt of this group and priority (4.8)."""
        if priority >= self.pmr or not any(self.active_priorities):
            return priority < self.pmr
        return self.group_priority(group, priority) < self.running_priority()

    def acknowledge(self, group: int) -> int:
        """Activate the most urgent interrupt of ``group`` and return its INTID, or 1023."""
        found = self.gic.best(self.pe)[group]
        if found is None or not self.can_take(group, found[0]):
            return SPURIOUS
        priority, intid = found
        bit = self.group_priority(group, priority) >> PRIORITY_SHIFT
        self.active_priorities[group] |= 1 << bit
        self.gic.acknowledge(self.pe, intid)
        return intid

    def end(self, group: int, intid: int, *, secure: bool) -> None:
        """Priority drop, and deactivation unless EOImode separates them (4.1.1)."""
        if not self.gic.implemented(intid) or self.gic.group(intid, self.pe) != group:
            return
        running = self.running_priority()
        bit = 1 << (running >> PRIORITY_SHIFT)
        if running == IDLE_PRIORITY or not self.active_priorities[group] & bit:
            return
        self.active_priorities[group] &= ~bit
        if self.control[secure] & CTLR_EOIMODE:
            self.gic.changed(self.pe)
        else:
            self.gic.deactivate(self.pe, intid)


def _group1(*, secure: bool) -> int:
    return GROUP1S if secure else GROUP1NS


def _read_iar0(cpu: CpuInterface, secure: bool) -> int:
    return cpu.acknowledge(GROUP0) if secure else SPURIOUS


def _read_iar1(cpu: CpuInterface, secure: bool) -> int:
    return cpu.acknowledge(_group1(secure=secure))


def _write_eoir0(cpu: CpuInterface, value: int, secure: bool) -> None:
    if secure:
        cpu.end(GROUP0, value & 0xFF_FFFF, secure=secure)


def _write_eoir1(cpu: CpuInterface, value: int, secure: bool) -> None:
    cpu.end(_group1(secure=secure), value & 0xFF_FFFF, secure=secure)


def _highest_pending(cpu: CpuInterface, group: int) -> int:
    found = cpu.gic.best(cpu.pe)[group]
    return SPURIOUS if found is None else found[1]


def _read_hppir0(cpu: CpuInterface, secure: bool) -> int:
    return _highest_pending(cpu, GROUP0) if secure else SPURIOUS


def _read_hppir1(cpu: CpuInterface, secure: bool) -> int:
    return _highest_pending(cpu, _group1(secure=secure))


def _write_dir(cpu: CpuInterface, value: int, secure: bool) -> None:
    intid = value & 0xFF_FFFF
    gic = cpu.gic
    if not cpu.control[secure] & CTLR_EOIMODE or not gic.implemented(intid):
        return
    if secure or gic.group(intid, cpu.pe) == GROUP1NS:
        gic.deactivate(cpu.pe, intid)


def _read_rpr(cpu: CpuInterface, secure: bool) -> int:
    priority = cpu.running_priority()
    if secure or priority == IDLE_PRIORITY:
        return priority
    return non_secure_priority(priority)


def _read_pmr(cpu: CpuInterface, secure: bool) -> int:
    return cpu.pmr if secure else non_secure_priority(cpu.pmr)


def _write_pmr(cpu: CpuInterface, value: int, secure: bool) -> None:
    if secure:
        cpu.pmr = value & PRIORITY_MASK
    elif cpu.pmr & 0x80:
        cpu.pmr = from_non_secure_priority(value & 0xFF)


def _read_bpr0(cpu: CpuInterface, secure: bool) -> int:
    return cpu.binary_point[GROUP0] if secure else 0


def _write_bpr0(cpu: CpuInterface, value: int, secure: bool) -> None:
    if secure:
        _write_binary_point(cpu, GROUP0, value)


def _write_binary_point(cpu: CpuInterface, group: int, value: int) -> None:
    cpu.binary_point[group] = max(value & 7, MINIMUM_BINARY_POINT[group])


def _read_bpr1(cpu: CpuInterface, secure: bool) -> int:
    if not cpu.control[secure] & CTLR_CBPR:
        return cpu.binary_point[_group1(secure=secure)]
    common = cpu.binary_point[GROUP0]
    return common if secure else min(common + 1, 7)


def _write_bpr1(cpu: CpuInterface, value: int, secure: bool) -> None:
    if not cpu.control[secure] & CTLR_CBPR:
        _write_binary_point(cpu, _group1(secure=secure), value)
    elif secure:
        _write_binary_point(cpu, GROUP0, value)


def _read_ap0r0(cpu: CpuInterface, secure: bool) -> int:
    return cpu.active_priorities[GROUP0] if secure else 0


def _write_ap0r0(cpu: CpuInterface, value: int, secure: bool) -> None:
    if secure:
        cpu.active_priorities[GROUP0] = value & MASK32


def _read_ap1r0(cpu: CpuInterface, secure: bool) -> int:
    return cpu.active_priorities[_group1(secure=secure)]


def _write_ap1r0(cpu: CpuInterface, value: int, secure: bool) -> None:
    cpu.active_priorities[_group1(secure=secure)] = value & MASK32


def _read_igrpen0(cpu: CpuInterface, secure: bool) -> int:
    return cpu.enables[GROUP0] if secure else 0


def _write_igrpen0(cpu: CpuInterface, value: int, secure: bool) -> None:
    if secure:
        cpu.enables[GROUP0] = value & 1


def _read_igrpen1(cpu: CpuInterface, secure: bool) -> int:
    return cpu.enables[_group1(secure=secure)]


def _write_igrpen1(cpu: CpuInterface, value: int, secure: bool) -> None:
    cpu.enables[_group1(secure=secure)] = value & 1


def _read_ctlr(cpu: CpuInterface, secure: bool) -> int:
    return cpu.control[secure] | CTLR_FIXED


def _write_ctlr(cpu: CpuInterface, value: int, secure: bool) -> None:
    cpu.control[secure] = value & (CTLR_CBPR | CTLR_EOIMODE)


def _write_sgi0r(cpu: CpuInterface, value: int, secure: bool) -> None:
    cpu.gic.generate_sgi(cpu.pe, GROUP0, value, secure=secure)


def _write_sgi1r(cpu: CpuInterface, value: int, secure: bool) -> None:
    cpu.gic.generate_sgi(cpu.pe, _group1(secure=secure), value, secure=secure)


def _write_asgi1r(cpu: CpuInterface, value: int, secure: bool) -> None:
    cpu.gic.generate_sgi(cpu.pe, _group1(secure=not secure), value, secure=secure)


Read = Callable[[CpuInterface, bool], int]
Write = Callable[[CpuInterface, int, bool], None]


class SystemRegister:
    """An ICC register: its encoding (op0, op1, CRn, CRm, op2) and what an access does.

    ``changes`` tells that a write may change what is signalled to the PE.
    """

    __slots__ = ("changes", "encoding", "read", "write")

    def __init__(
        self,
        encoding: tuple[int, int, int, int, int],
        read: Read | None = None,
        write: Write | None = None,
        *,
        changes: bool = False,
    ) -> None:
        self.encoding = encoding
        self.read = read
        self.write = write
        self.changes = changes


def _ignore(_cpu: CpuInterface, _value: int, _secure: bool) -> None:
    return


def _sre_el1(_cpu: CpuInterface, _secure: bool) -> int:
    return SRE_EL1


def _sre_el2(_cpu: CpuInterface, _secure: bool) -> int:
    return SRE_EL2


SYSTEM_REGISTERS: dict[str, SystemRegister] = {
    "ICC_PMR_EL1": SystemRegister((3, 0, 4, 6, 0), _read_pmr, _write_pmr, changes=True),
    "ICC_IAR0_EL1": SystemRegister((3, 0, 12, 8, 0), _read_iar0),
    "ICC_EOIR0_EL1": SystemRegister((3, 0, 12, 8, 1), None, _write_eoir0),
    "ICC_HPPIR0_EL1": SystemRegister((3, 0, 12, 8, 2), _read_hppir0),
    "ICC_BPR0_EL1": SystemRegister((3, 0, 12, 8, 3), _read_bpr0, _write_bpr0, changes=True),
    "ICC_AP0R0_EL1": SystemRegister((3, 0, 12, 8, 4), _read_ap0r0, _write_ap0r0, changes=True),
    "ICC_AP1R0_EL1": SystemRegister((3, 0, 12, 9, 0), _read_ap1r0, _write_ap1r0, changes=True),
    "ICC_DIR_EL1": SystemRegister((3, 0, 12, 11, 1), None, _write_dir),
    "ICC_RPR_EL1": SystemRegister((3, 0, 12, 11, 3), _read_rpr),
    "ICC_SGI1R_EL1": SystemRegister((3, 0, 12, 11, 5), None, _write_sgi1r),
    "ICC_ASGI1R_EL1": SystemRegister((3, 0, 12, 11, 6), None, _write_asgi1r),
    "ICC_SGI0R_EL1": SystemRegister((3, 0, 12, 11, 7), None, _write_sgi0r),
    "ICC_IAR1_EL1": SystemRegister((3, 0, 12, 12, 0), _read_iar1),
    "ICC_EOIR1_EL1": SystemRegister((3, 0, 12, 12, 1), None, _write_eoir1),
    "ICC_HPPIR1_EL1": SystemRegister((3, 0, 12, 12, 2), _read_hppir1),
    "ICC_BPR1_EL1": SystemRegister((3, 0, 12, 12, 3), _read_bpr1, _write_bpr1, changes=True),
    "ICC_CTLR_EL1": SystemRegister((3, 0, 12, 12, 4), _read_ctlr, _write_ctlr, changes=True),
    "ICC_SRE_EL1": SystemRegister((3, 0, 12, 12, 5), _sre_el1, _ignore),
    "ICC_IGRPEN0_EL1": SystemRegister(
        (3, 0, 12, 12, 6), _read_igrpen0, _write_igrpen0, changes=True
    ),
    "ICC_IGRPEN1_EL1": SystemRegister(
        (3, 0, 12, 12, 7), _read_igrpen1, _write_igrpen1, changes=True
    ),
    "ICC_SRE_EL2": SystemRegister((3, 4, 12, 9, 5), _sre_el2, _ignore),
}
"""Every implemented register by name."""

NAMES: dict[tuple[int, int, int, int, int], str] = {
    register.encoding: name for name, register in SYSTEM_REGISTERS.items()
}
"""The name of the register with an encoding (op0, op1, CRn, CRm, op2)."""
