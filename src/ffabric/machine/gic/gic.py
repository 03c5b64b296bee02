"""The GICv3 as a whole: which interrupt which PE is signalled (Arm IHI 0069).

Two Security states (GICD_CTLR.DS = 0), affinity routing only, no LPIs. The state lives in banks
(:mod:`~ffabric.machine.gic.interrupts`), one of SPIs and one of SGIs and PPIs for each PE, and in a
CPU interface for each PE; the frames and the system registers are views of both. Arbitration is
lazy: a change marks the PEs it may concern, and the next question about one of those looks again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from ffabric.machine.gic.cpu_interface import (
    SYSTEM_REGISTERS,
    Candidates,
    CpuInterface,
    SystemRegister,
)
from ffabric.machine.gic.interrupts import (
    EXTENDED_PPIS,
    EXTENDED_SPIS,
    FIRST_SPI,
    GROUP0,
    GROUP1NS,
    GROUP1S,
    PRIORITY_MASK,
    InterruptBank,
    State,
    bits_of,
    is_private,
)

GROUPS = (GROUP0, GROUP1S, GROUP1NS)
_IN_NO_GROUP = (0, 0, 0)
_NO_CANDIDATES: Candidates = (None, None, None)
_PRIVATE, _MORE_PRIVATE = bits_of(range(FIRST_SPI)), bits_of(EXTENDED_PPIS)
_MORE_SHARED = bits_of(EXTENDED_SPIS)
CTLR_ENABLE_GROUP0, CTLR_ENABLE_GROUP1NS, CTLR_ENABLE_GROUP1S = 1 << 0, 1 << 1, 1 << 2
"""Bits of GICD_CTLR."""
DISTRIBUTOR_ENABLE = (CTLR_ENABLE_GROUP0, CTLR_ENABLE_GROUP1S, CTLR_ENABLE_GROUP1NS)
"""The bit of GICD_CTLR that enables each group."""

ROUTE_ANY = 1 << 31
"""GICD_IROUTER.Interrupt_Routing_Mode: any PE (1 of N)."""
SGI_TO_OTHERS = 1 << 40
"""ICC_SGI*R.IRM: every PE but the one that writes."""

MAX_SPIS = 988
SPIS = MAX_SPIS
"""How many there are below the extended range, unless a GIC is told otherwise."""


class Gic:
    """A GICv3.1 for ``pes`` PEs with the affinities of ``mpidrs`` and ``spis`` SPIs from INTID 32.

    If it is ``extended``, it has the extended ranges, too: PPIs 1056 to 1119, SPIs 4096 to 5119.
    ``mpidrs`` defaults to Aff0 = PE number. ``on_change``, if set, is called without arguments
    whenever what :meth:`pending` answers may have changed. Everything is as after reset: disabled,
    asleep and masked (see :func:`~ffabric.machine.gic.setup.set_up`).
    """

    def __init__(
        self,
        pes: int,
        mpidrs: Sequence[int] | None = None,
        *,
        spis: int = SPIS,
        extended: bool = True,
    ) -> None:
        mpidrs = range(pes) if mpidrs is None else mpidrs
        affinities = [mpidr >> 8 & 0xFF00_0000 | mpidr & 0xFF_FFFF for mpidr in mpidrs]
        if pes < 1 or len(affinities) != pes or len(set(affinities)) != pes:
            raise ValueError(f"{pes} PEs need as many different affinities, not {affinities}")
        if not (0 < spis <= MAX_SPIS) or (spis % 32 and spis != MAX_SPIS):
            raise ValueError(f"{spis} SPIs: a multiple of 32, or {MAX_SPIS}")
        self.affinities = affinities
        """GICR_TYPER.Affinity_Value of each PE: Aff3, Aff2, Aff1, Aff0."""
        own = _PRIVATE | _MORE_PRIVATE if extended else _PRIVATE
        self.private = [InterruptBank(own, 1 << pe) for pe in range(pes)]
        shared = bits_of(range(FIRST_SPI, FIRST_SPI + spis))
        self._all = (1 << pes) - 1
        self.spis = InterruptBank(shared | _MORE_SHARED if extended else shared, self._all)
        self.cpus = [CpuInterface(self, pe) for pe in range(pes)]
        self.awake = [False] * pes
        self.group_enables = 0
        self.extended = extended
        self.lines = FIRST_SPI + spis
        """How many INTIDs there are below the extended ranges."""
        self.routes: dict[int, int] = defaultdict(int)
        """GICD_IROUTER by INTID; 0 if it was not written."""
        self.on_change: Callable[[], None] | None = None
        self._routed = [0 if affinity else self.spis.implemented for affinity in affinities]
        self._routed_to_any = 0
        self._stale = self._all
        self._best = [_NO_CANDIDATES] * pes
        self._pending: list[tuple[int, int] | None] = [None] * pes

    # Interrupt sources

    def set_level(self, intid: int, high: bool, pe: int | None = None) -> None:
        """The input of ``intid`` is now high or low; a PPI is that of ``pe``."""
        bank = self._bank(intid, pe)
        bit = 1 << intid
        if bool(bank.line & bit) == high:
            return
        if high:
            bank.raise_line(bit)
        else:
            bank.lower_line(bit)
        self._touched(bank)

    def set_pending(self, intid: int, pe: int | None = None) -> None:
        """Make ``intid`` pending once, as a message or an SGI does; of ``pe`` if it is private."""
        bank = self._bank(intid, pe)
        bank.set_pending(1 << intid)
        self._touched(bank)

    def generate_sgi(self, source: int, group: int, value: int, *, secure: bool) -> None:
        """Carry out a write of ``value`` to the ICC_SGI*R that asks for ``group`` (12.2).

        A target receives the SGI if it has it in that group, or in Group 0 when Secure Group 1 is
        asked for, and if its GICR_NSACR allows it to a Non-secure sender.
        """
        intid = value >> 24 & 0xF
        for pe in self._sgi_targets(source, value):
            bank = self.private[pe]
            actual = bank.group(intid)
            if actual != group and (actual, group) != (GROUP0, GROUP1S):
                continue
            if not secure and actual != GROUP1NS and not bank.ns_access[1 + actual] >> intid & 1:
                continue
            self.set_pending(intid, pe)

    def _sgi_targets(self, source: int, value: int) -> list[int]:
        if value & SGI_TO_OTHERS:
            return [pe for pe in range(len(self.cpus)) if pe != source]
        cluster = value >> 24 & 0xFF00_0000 | value >> 16 & 0xFF_0000 | value >> 8 & 0xFF00
        first = 16 * (value >> 44 & 0xF)
        return [
            pe
            for pe, affinity in enumerate(self.affinities)
            if affinity & 0xFFFF_FF00 == cluster
            and 0 <= (affinity & 0xFF) - first < 16
            and value >> (affinity & 0xFF) - first & 1
        ]

    # What a PE is signalled

    def pending(self, pe: int) -> tuple[int, int] | None:
        """The interrupt that ``pe`` is signalled, as (INTID, group), or None.

        It is the most urgent one that is pending, enabled, not active, and above the priority mask
        and the running priority. What the Non-secure state writes to the mask cannot hide a Secure
        interrupt whose priority is in the upper half (below 0x80).
        """
        if self._stale >> pe & 1:
            self._arbitrate(pe)
        return self._pending[pe]

    def pending_in(self, pe: int, group: int) -> int | None:
        """The INTID that ``pe`` would be signalled if no other group had any pending."""
        found = self.best(pe)[group]
        if found is None or not self.cpus[pe].can_take(group, found[0]):
            return None
        return found[1]

    def best(self, pe: int) -> Candidates:
        """By group, the most urgent pending and enabled interrupt as (priority, INTID), or None.

        The priority mask and the running priority have no say in it.
        """
        if self._stale >> pe & 1:
            self._arbitrate(pe)
        return self._best[pe]

    def _arbitrate(self, pe: int) -> None:
        self._stale &= ~(1 << pe)
        private, spis = self.private[pe], self.spis
        ready, shared = private.ready, spis.ready
        if shared:
            shared &= self._routed[pe] | self._routed_to_any
        if not (ready or shared) or not self.awake[pe]:
            self._best[pe], self._pending[pe] = _NO_CANDIDATES, None
            return
        best: list[tuple[int, int] | None] = [None, None, None]
        winner: tuple[int, int, int] | None = None
        cpu = self.cpus[pe]
        owns = private.groups(ready) if ready else _IN_NO_GROUP
        of_all = spis.groups(shared) if shared else _IN_NO_GROUP
        for group, own, others in zip(GROUPS, owns, of_all, strict=True):
            if not (own or others) or not cpu.enables[group]:
                continue
            if not self.group_enables & DISTRIBUTOR_ENABLE[group]:
                continue
            best[group] = found = self._first(pe, group, own, others)
            if found is not None and cpu.can_take(group, found[0]):
                entry = (*found, group)
                winner = entry if winner is None else min(winner, entry)
        self._best[pe] = best
        self._pending[pe] = None if winner is None else winner[1:]

    def _first(self, pe: int, group: int, own: int, shared: int) -> tuple[int, int] | None:
        """The most urgent of the PE's ``own`` interrupts of a group and of the ``shared`` ones."""
        if shared & self._routed_to_any and self._first_participant(group) != pe:
            shared &= ~self._routed_to_any
        found = self.private[pe].first(own)
        other = self.spis.first(shared) if shared else None
        if found is None or other is None:
            return found or other
        return min(found, other)

    def _first_participant(self, group: int) -> int:
        """The PE that gets the 1-of-N SPIs of ``group``: the first that is awake and enabled."""
        for pe, cpu in enumerate(self.cpus):
            if self.awake[pe] and cpu.enables[group]:
                return pe
        return -1

    def changed(self, pe: int | None = None) -> None:
        """What is pending may have changed for ``pe`` (None: for every PE)."""
        self._stale |= self._all if pe is None else 1 << pe
        if self.on_change is not None:
            self.on_change()

    def _touched(self, bank: InterruptBank) -> None:
        """What is pending may have changed for the PEs of ``bank``."""
        self._stale |= bank.pes
        if self.on_change is not None:
            self.on_change()

    # What the firmware and the frames do with an interrupt

    def acknowledge(self, pe: int, intid: int) -> None:
        """Make ``intid`` active, without effect on the running priority of ``pe``.

        That is what reading ICC_IAR and, with EOImode set, writing ICC_EOIR do together.
        """
        bank = self._bank(intid, pe)
        bank.acknowledge(1 << intid)
        self._touched(bank)

    def take(self, pe: int, intid: int) -> bool:
        """Acknowledge ``intid``; True if it is edge-triggered, and so is not active any more.

        For whoever passes it on: another edge is another interrupt, but the line of a
        level-triggered one falls only when it has been handled.
        """
        bank, bit = self._bank(intid, pe), 1 << intid
        bank.acknowledge(bit)
        edge = bool(bank.edge & bit)
        if edge:
            bank.deactivate(bit)
        self._touched(bank)
        return edge

    def deactivate(self, pe: int, intid: int) -> None:
        """Make ``intid`` active no more."""
        bank = self._bank(intid, pe)
        bank.deactivate(1 << intid)
        self._touched(bank)

    def configure(
        self,
        intid: int,
        pe: int | None = None,
        *,
        group: int | None = None,
        priority: int | None = None,
        edge: bool | None = None,
        enabled: bool | None = None,
        target: int | None = None,
    ) -> None:
        """Set what is given of one interrupt, as Secure writes to its registers do.

        ``priority`` is the Secure one (0 most urgent, below 0x80 for Secure interrupts), ``target``
        the PE number that an SPI goes to; ``pe`` is needed for a private one, else it says nothing.
        """
        bank = self._bank(intid, pe)
        bit = 1 << intid
        if group is not None:
            bank.set_group(intid, group)
        if priority is not None:
            bank.priority[intid] = priority & PRIORITY_MASK
        if edge is not None:
            bank.edge = bank.edge | bit if edge else bank.edge & ~bit
        if enabled is not None:
            bank.enabled = bank.enabled | bit if enabled else bank.enabled & ~bit
        if target is not None:
            affinity = self.affinities[target]
            self.route(intid, affinity << 8 & 0xFF_0000_0000 | affinity & 0xFF_FFFF)
        self._touched(bank)

    def route(self, intid: int, value: int) -> None:
        """Set GICD_IROUTER of an SPI: an affinity in MPIDR format, or bit 31 for any PE."""
        if is_private(intid):
            raise ValueError(f"INTID {intid} is private: it has no route")
        bit = 1 << intid
        self.routes[intid] = value
        to_any = bool(value & ROUTE_ANY)
        self._routed_to_any = self._routed_to_any & ~bit | bit * to_any
        wanted = value >> 8 & 0xFF00_0000 | value & 0xFF_FFFF
        for pe, affinity in enumerate(self.affinities):
            here = affinity == wanted and not to_any
            self._routed[pe] = self._routed[pe] & ~bit | bit * here
        self.changed()

    def group(self, intid: int, pe: int | None = None) -> int:
        """The group of ``intid``: GROUP0, GROUP1S or GROUP1NS."""
        return self._bank(intid, pe).group(intid)

    def state(self, intid: int, pe: int | None = None) -> State:
        """The state of ``intid``."""
        return self._bank(intid, pe).state(intid)

    def is_high(self, intid: int, pe: int | None = None) -> bool:
        """Whether the input of ``intid`` is high."""
        return bool(self._bank(intid, pe).line >> intid & 1)

    def is_edge(self, intid: int, pe: int | None = None) -> bool:
        """Whether ``intid`` is edge-triggered."""
        return bool(self._bank(intid, pe).edge >> intid & 1)

    def enabled(self, intid: int, pe: int | None = None) -> bool:
        """Whether ``intid`` is enabled (by itself; its group may not be)."""
        return bool(self._bank(intid, pe).enabled >> intid & 1)

    def implemented(self, intid: int) -> bool:
        """Whether there is an interrupt ``intid``."""
        if 0 <= intid < self.lines:
            return True
        return self.extended and (intid in EXTENDED_PPIS or intid in EXTENDED_SPIS)

    def _bank(self, intid: int, pe: int | None) -> InterruptBank:
        if not 0 <= intid < FIRST_SPI:
            if FIRST_SPI <= intid < self.lines:
                return self.spis
            if not self.implemented(intid):
                raise ValueError(f"there is no INTID {intid}")
            if not is_private(intid):
                return self.spis
        if pe is None:
            raise ValueError(f"INTID {intid} is private: it takes a PE")
        return self.private[pe]

    # The system registers

    def sysreg_read(self, pe: int, name: str, secure: bool) -> int:
        """Read an ICC register on ``pe``, such as ``ICC_IAR1_EL1``, from one Security state."""
        read = self._register(name).read
        if read is None:
            raise ValueError(f"{name} is write-only")
        return read(self.cpus[pe], secure)

    def sysreg_write(self, pe: int, name: str, value: int, secure: bool) -> None:
        """Write an ICC register on ``pe`` from one Security state."""
        register = self._register(name)
        if register.write is None:
            raise ValueError(f"{name} is read-only")
        register.write(self.cpus[pe], value, secure)
        if register.changes:
            self.changed()

    def _register(self, name: str) -> SystemRegister:
        try:
            return SYSTEM_REGISTERS[name]
        except KeyError:
            raise ValueError(f"no GIC system register {name}") from None
