"""The relayer of memory transactions: what a partition manager decides for its own endpoints."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.words import PAGE
from ffabric.firmware.manager.memory import reclaim, send
from ffabric.firmware.state import reply
from ffabric.firmware.state.region import Region, Regions

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
    from ffabric.firmware.state.tracer import Tracer
    from ffabric.machine.machine import PE
    from ffabric.machine.memory import PhysicalMemory


class Relayer(abc.ABC):
    """The decisions that differ between the SPMC and the hypervisor, with their common answers."""

    memory: PhysicalMemory
    partitions: dict[int, Partition]
    tracer: Tracer | None

    def __init__(self, allocator_bit: int) -> None:
        self.regions = Regions(allocator_bit)

    def speaks_for(self, partition: Partition, sender: int) -> bool:
        """Whether ``partition`` may send in the name of endpoint ``sender``."""
        return sender == partition.id

    def owner_of(self, partition: Partition, sender: int) -> Partition:
        """The endpoint whose stage-2 says what ``sender`` owns."""
        return partition

    def is_remote(self, endpoint: int) -> bool:
        """Whether another partition manager has an endpoint with this id."""
        return False

    def commit(self, pe: PE, caller: ExecutionContext, region: Region) -> Next:
        """The transaction is judged: let it take effect and answer with its handle."""
        send.transfer(self, region)
        if region.flags & mem.FLAG_CLEAR:
            self.zero(region.runs)
        self.regions.settle(region)
        send.answer(caller, region)
        return caller

    def reclaim(self, pe: PE, caller: ExecutionContext, region: Region, flags: int) -> Next:
        """The reclaim is judged: let it take effect."""
        reclaim.take_back(self, region, clear=bool(flags & mem.FLAG_CLEAR))
        reply.success(caller.x)
        return caller

    def zero(self, runs: list[tuple[int, int, int, int]]) -> None:
        """Clear the physical pages of ``runs`` (IPA, PA, pages, attributes), if they are memory."""
        for _, pa, pages, _ in runs:
            bank = self.memory.bank_at(pa)
            if bank is not None:
                self.memory.zero(pa, pages * PAGE, secure=bank.secure)

    def addresses_for(
        self, borrower: Partition, region: Region
    ) -> list[tuple[int, int, int]] | None:
        """Where ``borrower`` gets the region: (IPA, PA, pages) of each run; None: no room.

        The address of the memory itself, if the borrower has nothing there; else the first hole
        in its window. The stage-2 tables are the allocator: what they do not map is free.
        """
        stage2 = borrower.stage2
        assert stage2 is not None
        runs = region.runs
        if borrower.identity:
            for _, pa, pages, _ in runs:
                if not stage2.vacant(pa, pages):
                    break
            else:
                return [(pa, pa, pages) for _, pa, pages, _ in runs]
        base, pages = borrower.window
        total = region.total_pages
        for ipa, pa, count, _ in stage2.runs(base, pages) if pages else ():
            if pa < 0 and count >= total:
                held = []
                at = ipa
                for _, run_pa, run_pages, _ in runs:
                    held.append((at, run_pa, run_pages))
                    at += run_pages * PAGE
                return held
        return None

    def forget_endpoint(self, partition: Partition) -> None:
        """An endpoint is gone: what it had borrowed goes back, what it sent and nobody has too.

        What others still have of it comes back when they relinquish it.
        """
        for region in [*self.regions.live.values()]:
            borrower = region.borrower(partition.id)
            if borrower is not None and borrower.held is not None:
                reclaim.take_from(self, region, borrower, clear=borrower.clear_after)
            if region.owner is partition and region.sender == partition.id:
                self.owner_gone(region)
        for region in [*self.regions.pending.values()]:
            if region.sender == partition.id:
                self.regions.remove(region)
        for key in [*self.regions.responses]:
            if key[1] == partition.id:
                del self.regions.responses[key]

    def owner_gone(self, region: Region) -> None:
        """The owner of ``region`` is gone: it ends, if nobody has it any more."""
        if not region.retrieved:
            reclaim.take_back(self, region, clear=False)

    def relinquished(self, region: Region) -> None:
        """A borrower has relinquished ``region``: without owner and borrowers it ends."""
        if not region.owner.alive:
            self.owner_gone(region)

    def withdraw(self, region: Region) -> None:
        """Take ``region`` from the borrowers of this manager that have it."""
        for each in region.borrowers:
            if each.held is not None:
                reclaim.take_from(self, region, each, clear=False)
