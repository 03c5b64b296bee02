"""Who may reach what, judged from the stage-2 tables alone: neither the calls nor the firmware say.

The tables of all endpoints are read as an MMU reads them, together with what software has noted
in their descriptors and with the SPMC's account of the normal world's memory. After any step:

- no table of the normal world leads into secure memory, and none at all into the memory of a
  partition manager;
- a page is one endpoint's own; whoever else reaches it has borrowed it, from an owner that says so,
  with no more than the owner's right to write, and a lender does not reach what it lent;
- what an SP has of the normal world, the SPMC's account says is away;
- a frame that the hypervisor calls free is reached by nobody, and no part of a transaction;
- a table page belongs to one table, and every page that a manager has taken is one;
- an execution context runs on one PE; no two endpoints have one id.

When nothing is under way, no frame is lost: each is free, or a VM's, or away (`check_lost`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ffabric.abi.words import PAGE, SECURE_BIT
from ffabric.firmware.state.ownership import BORROWED, LENT, OWNED, SHARED, state
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.oracle.holders import Held, Holders, Range, View
from ffabric.machine.translation.descriptors import (
    ADDRESS,
    MEMATTR_MASK,
    MEMATTR_NORMAL_WB,
    S2AP_W,
    SW_NS,
    VALID,
)

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import Partition
    from ffabric.lab.oracle.stage2_reader import Reach
    from ffabric.lab.oracle.tables import Tables
    from ffabric.machine.memory import Bank
    from ffabric.system.system import System

_GIVING = (SHARED, LENT)


class Isolation:
    """The judge of a system: ``check`` after each step, ``check_lost`` when nothing is under way.

    Both raise :class:`Discrepancy`. ``tables`` have been read; whoever holds the judge lets it know
    the endpoints that come and go.
    """

    def __init__(self, system: System, tables: Tables) -> None:
        self.system = system
        self.memory = system.machine.memory
        self.tables = tables
        hypervisor = system.firmware.hypervisor
        self._frames = hypervisor.frames if hypervisor is not None else None
        world = system.firmware.spmc.normal_world
        self.world = View(world, tables.world)
        self._views: dict[Reach, View] = {}
        self.holders = Holders()
        self.passed: set[tuple[object, ...]] = set()
        """What has been found well of a page: where it is, and who has it how (`_judge`)."""
        own = [system.spec.spmc.memory]
        if system.spec.hypervisor is not None:
            own.append(system.spec.hypervisor.memory)
        self._managers = [(each.base, each.base + each.size) for each in own]
        banks = ((bank.base, bank.end) for bank in self.memory.banks)
        self._edges = sorted({at for each in (*self._managers, *banks) for at in each})
        """Where a page is in another place than the one before it."""
        self._claimed: list[tuple[int, int]] = []
        self._free: list[Range] = self._free_ranges()
        for partition, reach in tables.reaches.items():
            if reach is not tables.world:
                self._views[reach] = View(partition, reach)
        for view in (self.world, *self._views.values()):
            self.holders.add(view)
        self._judge_ids()
        vms = (view for view in self._views.values() if not view.secure)
        self._frames_of_vms = merged(
            [*self._free, *(each for view in vms for each, _ in view.ranges())]
        )

    def add(self, partition: Partition, reach: Reach) -> None:
        """An endpoint has come, and has all the frames that its table maps."""
        view = self._views[reach] = View(partition, reach)
        self.holders.add(view)
        for (start, end), _ in view.ranges():
            self.holders.touched.update(range(start, end, PAGE))
        self._judge_ids()

    def remove(self, reach: Reach) -> None:
        """An endpoint is gone: nobody walks its table any more."""
        view = self._views.pop(reach, None)
        if view is not None:
            self.holders.remove(view)

    # What holds after each step

    def check(self) -> None:
        """Judge what has changed; the tables have been looked at."""
        if self._frames is not None:
            self._judge_free(self._frames.ranges)
        touched, self.holders.touched = self.holders.touched, set()
        for pa in touched:
            self._judge(pa)
        self._judge_contexts()

    def check_tables(self) -> None:
        """Judge which pages are tables."""
        for reader in self.tables.readers:
            if reader.stray or reader.shared:
                odd = [hex(pa) for pa in (*reader.stray, *reader.shared)]
                raise Discrepancy(f"{odd} are tables and must not be, or of two trees")
            if reader.pages != reader.pool.in_use:
                used = reader.pool.in_use
                raise Discrepancy(f"{used} pages are taken for tables, {reader.pages} are tables")

    def check_lost(self) -> None:
        """Judge that no frame of the VMs is lost, when no VM is being destroyed."""
        if self._frames is None:
            return
        kept = [each for each, leaf in self.world.ranges() if _plain(leaf) and _is_memory(leaf)]
        lost = common(self._frames_of_vms, merged(kept))
        lost = without(lost, self._free_ranges())
        for view in self._views.values():
            lost = without(lost, merged(each for each, _ in view.ranges()))
        if lost:
            raise Discrepancy(f"lost frames: {[(hex(a), (b - a) // PAGE) for a, b in lost]}")

    def _free_ranges(self) -> list[Range]:
        if self._frames is None:
            return []
        return [(pa, pa + pages * PAGE) for pa, pages in self._frames.ranges]

    def _judge_free(self, ranges: list[tuple[int, int]]) -> None:
        """Frames that have become free since."""
        if ranges != self._claimed:
            self._claimed = ranges
            former, self._free = self._free, self._free_ranges()
            for start, end in without(self._free, former):
                for pa in self.holders.samples(start, end, self._edges):
                    self._judge(pa)

    def _judge(self, pa: int) -> None:
        """Judge a page, unless one in the same place whom the same have alike was well."""
        bank = self.memory.bank_at(pa)
        if bank is None:
            return
        held = self.holders.of(pa)
        managed = any(start <= pa < end for start, end in self._managers)
        free = any(start <= pa < end for start, end in self._free)
        how = [(view.key, word & ~ADDRESS) for (view, _), word in held.items()]
        key = bank.name, managed, free, *how
        if key in self.passed:
            return
        views = [view for view in self._views.values() if view.secure or not bank.secure]
        if bank.secure:
            self._judge_secure(pa, held)
        found = [(view, d) for (view, _), d in held.items() if view in views]
        account = next((d for (view, _), d in held.items() if view is self.world), 0)
        walked = [(view, d) for view, d in found if d & VALID]
        if self._frames is None and account & VALID:
            walked.append((self.world, account))
        for view, descriptor in walked:
            self._judge_space(view, descriptor, pa, bank)
        self._judge_sharing(pa, walked, [*found, (self.world, account)])
        if not bank.secure:
            self._judge_account(pa, walked, account)
        self.passed.add(key)

    def _judge_secure(self, pa: int, held: Held) -> None:
        for (view, _), descriptor in held.items():
            if not (view.secure or view is self.world) and descriptor & VALID:
                raise Discrepancy(f"{view.name}, a VM, reaches secure memory at {pa:#x}")

    def _judge_space(self, view: View, descriptor: int, pa: int, bank: Bank) -> None:
        if bool(descriptor & SW_NS) == bank.secure:
            raise Discrepancy(f"{view.name} reaches {pa:#x} in the wrong address space")
        if any(start <= pa < end for start, end in self._managers):
            raise Discrepancy(f"{view.name} reaches {pa:#x}, which is a partition manager's")

    def _judge_sharing(
        self, pa: int, walked: list[tuple[View, int]], known: list[tuple[View, int]]
    ) -> None:
        owners = [(view, d) for view, d in walked if state(d) is not BORROWED]
        if len(owners) > 1:
            names = [view.name for view, _ in owners]
            raise Discrepancy(f"{pa:#x} is the own of {' and '.join(names)}")
        givers = [d for _, d in known if d and state(d) in _GIVING]
        for view, d in walked:
            if state(d) is LENT:
                raise Discrepancy(f"{view.name} reaches {pa:#x}, which it has lent")
            if state(d) is not BORROWED:
                continue
            if not givers:
                raise Discrepancy(f"{view.name} has borrowed {pa:#x}, which nobody gives")
            if d & S2AP_W and not any(giver & S2AP_W for giver in givers):
                raise Discrepancy(f"{view.name} writes {pa:#x}, which its owner only reads")
            if any(state(owner) is OWNED for _, owner in owners):
                name = owners[0][0].name
                raise Discrepancy(f"{view.name} reaches {pa:#x}, which is {name}'s alone")

    def _judge_account(self, pa: int, walked: list[tuple[View, int]], account: int) -> None:
        secure = [view.name for view, _ in walked if view.secure]
        if secure and _plain(account):
            raise Discrepancy(f"{secure[0]} reaches {pa:#x}, which the normal world has for itself")
        if any(start <= pa < end for start, end in self._free):
            if walked:
                raise Discrepancy(f"{walked[0][0].name} reaches {pa:#x}, a free frame")
            if not _plain(account):
                raise Discrepancy(f"{pa:#x} is free, and away according to the SPMC")

    def _judge_contexts(self) -> None:
        pes = self.system.machine.pes
        if len(pes) > 1:
            running = [pe.current for pe in pes if pe.current is not None]
            if len(set(running)) < len(running):
                raise Discrepancy(f"of {running}, one runs on several PEs")

    def _judge_ids(self) -> None:
        ids = [self.world.id, *(view.id for view in self._views.values())]
        for view in self._views.values():
            if ids.count(view.id) > 1 or bool(view.id & SECURE_BIT) != view.secure:
                raise Discrepancy(f"{view.name} has the id {view.id:#x}")


def _plain(descriptor: int) -> bool:
    """Whether the page is the normal world's own, not away and in no buffer."""
    return bool(descriptor & VALID) and state(descriptor) is OWNED


def _is_memory(descriptor: int) -> bool:
    """Whether it is memory, not the registers of a device."""
    return descriptor & MEMATTR_MASK == MEMATTR_NORMAL_WB


def merged(ranges: Iterable[Range]) -> list[Range]:
    """``ranges`` in ascending order, those that touch as one."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def without(ranges: list[Range], others: list[Range]) -> list[Range]:
    """What of ``ranges`` is in none of ``others``; both ascend."""
    found = []
    for start, end in ranges:
        at = start
        for first, last in others:
            if last > at and first < end:
                if first > at:
                    found.append((at, first))
                at = max(at, last)
        if at < end:
            found.append((at, end))
    return found


def common(ranges: list[Range], others: list[Range]) -> list[Range]:
    """What is in one of ``ranges`` and in one of ``others``."""
    return without(ranges, without(ranges, others))
