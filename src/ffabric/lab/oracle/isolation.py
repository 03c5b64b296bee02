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

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ffabric.abi.words import PAGE, SECURE_BIT
from ffabric.firmware.state.ownership import BORROWED, LENT, OWNED, SHARED, state
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.machine.stage2 import (
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
Range = tuple[int, int]
"""Addresses from the first up to the second."""


class View:
    """What one table maps, also by physical page."""

    def __init__(self, partition: Partition, reach: Reach) -> None:
        self.name = partition.name
        self.id = partition.id
        self.secure = partition.secure
        self.reach = reach
        self.touched: set[int] = set()
        """Physical pages about which the table says something else now."""
        self._first = reach.runs()
        self._now: dict[int, int] = {}
        self._at: dict[int, set[int]] = {}
        reach.listeners.append(self._heard)

    def _heard(self, ipa: int, pages: int, before: int, after: int) -> None:
        for at in range(ipa, ipa + pages * PAGE, PAGE):
            if before:
                pa = before & ADDRESS
                self.touched.add(pa)
                if at in self._now:
                    self._at[pa].discard(at)
                before += PAGE
            if after:
                pa = after & ADDRESS
                self.touched.add(pa)
                self._at.setdefault(pa, set()).add(at)
            self._now[at] = after
            after = after and after + PAGE

    def maps(self, pa: int) -> Iterator[tuple[int, int]]:
        """(IPA, descriptor) of each place where it has the physical page ``pa``."""
        now = self._now
        for ipa, pages, descriptor in self._first:
            offset = pa - (descriptor & ADDRESS)
            if 0 <= offset < pages * PAGE and ipa + offset not in now:
                yield ipa + offset, descriptor + offset
        for ipa in self._at.get(pa, ()):
            yield ipa, now[ipa]

    def within(self, start: int, end: int) -> set[int]:
        """The physical pages from ``start`` up to ``end`` that it may have."""
        found = {pa for pa in self._at if start <= pa < end}
        for _, pages, descriptor in self._first:
            base = descriptor & ADDRESS
            found.update(range(max(base, start), min(base + pages * PAGE, end), PAGE))
        return found

    def ranges(self) -> Iterator[tuple[Range, int]]:
        """What it maps or remembers: physical addresses, and the descriptor of the first page."""
        for _, pages, descriptor in self.reach.runs():
            base = descriptor & ADDRESS
            yield (base, base + pages * PAGE), descriptor


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
        own = [system.spec.spmc.memory]
        if system.spec.hypervisor is not None:
            own.append(system.spec.hypervisor.memory)
        self._managers = [(each.base, each.base + each.size) for each in own]
        self._claimed: list[tuple[int, int]] = []
        self._free: list[Range] = self._free_ranges()
        for partition, reach in tables.reaches.items():
            if reach is not tables.world:
                self._views[reach] = View(partition, reach)
        self._judge_ids()
        vms = (view for view in self._views.values() if not view.secure)
        self._frames_of_vms = merged(
            [*self._free, *(each for view in vms for each, _ in view.ranges())]
        )

    def add(self, partition: Partition, reach: Reach) -> None:
        """An endpoint has come, and has all the frames that its table maps."""
        view = self._views[reach] = View(partition, reach)
        for (start, end), _ in view.ranges():
            view.touched |= view.within(start, end)
        self._judge_ids()

    def remove(self, reach: Reach) -> None:
        """An endpoint is gone: nobody walks its table any more."""
        self._views.pop(reach, None)

    # What holds after each step

    def check(self) -> None:
        """Judge what has changed; the tables have been looked at."""
        if self._frames is not None:
            self._judge_free(self._frames.ranges)
        touched: set[int] = set()
        for view in (self.world, *self._views.values()):
            if view.touched:
                touched |= view.touched
                view.touched.clear()
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
                for view in (self.world, *self._views.values()):
                    for pa in view.within(start, end):
                        self._judge(pa)

    def _judge(self, pa: int) -> None:
        bank = self.memory.bank_at(pa)
        if bank is None:
            return
        views = [view for view in self._views.values() if view.secure or not bank.secure]
        if bank.secure:
            self._judge_secure(pa)
        found = [(view, d) for view in views for _, d in view.maps(pa)]
        account = next((d for _, d in self.world.maps(pa)), 0)
        walked = [(view, d) for view, d in found if d & VALID]
        if self._frames is None and account & VALID:
            walked.append((self.world, account))
        for view, descriptor in walked:
            self._judge_space(view, descriptor, pa, bank)
        self._judge_sharing(pa, walked, [*found, (self.world, account)])
        if not bank.secure:
            self._judge_account(pa, walked, account)

    def _judge_secure(self, pa: int) -> None:
        for view in self._views.values():
            if not view.secure and any(d & VALID for _, d in view.maps(pa)):
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
