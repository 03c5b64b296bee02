"""Memory of VMs that are protected from the VM which started them, in pKVM's model.

A host VM donates memory of its own to a VM that it starts. From then on the host cannot reach it:
its stage 2 remembers the pages as given up, so that it can neither send them to anybody nor give
them away again. When the VM is destroyed they are cleared first and are the host's again then; what
an SP still has of them comes back when the SP relinquishes it. The new VM finds in them what the
host has left there.

A VM that was started so may be the host of another one, with memory that is not its own by birth.
Pages come back to the last who has donated them and is there still: a host never gets what its
guest has passed on. If all of them are gone, the pages are free.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from ffabric.abi.words import PAGE
from ffabric.firmware.state import events, ownership
from ffabric.firmware.state.endpoints import Vm
from ffabric.machine.translation.descriptors import MEMATTR_MASK, MEMATTR_NORMAL_WB, VALID
from ffabric.machine.translation.pages import NoPages

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Manager

_GONE = ownership.BITS[ownership.LENT]
_CHANGED = VALID | ownership.MASK


class NotDonatable(Exception):  # noqa: N818 - an answer to a request
    """Memory that is not the host's alone, or not its memory at all."""


class Donation(msgspec.Struct, frozen=True):
    """Pages that are away: whose they are, at which IPA, and their physical address."""

    pa: int
    pages: int
    host: Vm
    ipa: int

    @property
    def end(self) -> int:
        """Where its physical pages end."""
        return self.pa + self.pages * PAGE


class Donations:
    """What hosts have donated to VMs that are not gone yet."""

    def __init__(self, hypervisor: Manager) -> None:
        self._hypervisor = hypervisor
        self._away: list[Donation] = []
        """In the order in which they were made."""

    def take(self, host: Vm, receiver: str, ipa: int, pages: int) -> list[tuple[int, int]]:
        """``host`` gives up its ``pages`` from ``ipa`` for a VM: (PA, pages) of each run.

        Raises NotDonatable, or NoPages if there is no memory for its tables; nothing is taken then.
        """
        stage2 = host.stage2
        assert stage2 is not None
        if not host.alive:
            raise NotDonatable(f"{host.name} is about to end")
        runs = stage2.runs(ipa, pages) if pages and not ipa % PAGE else []
        if not runs:
            raise NotDonatable(f"{pages} pages from {ipa:#x} are not a range of pages")
        for at, pa, count, attrs in runs:
            self._judge(host, at, pa, count, attrs)
        undo = ownership.MASK, VALID | ownership.BITS[ownership.OWNED]
        ranges = [(at, count) for at, _, count, _ in runs]
        stage2.update_all(ranges, _CHANGED, _GONE, undo=undo)
        self._away += [Donation(pa, count, host, at) for at, pa, count, _ in runs]
        self._tell(
            events.MemoryDonated(host.name, receiver, tuple((at, pa, n) for at, pa, n, _ in runs))
        )
        return [(pa, count) for _, pa, count, _ in runs]

    def _judge(self, host: Vm, ipa: int, pa: int, pages: int, attrs: int) -> None:
        bank = self._hypervisor.memory.bank_at(pa) if pa >= 0 else None
        held = ownership.state(attrs)
        memory = attrs & MEMATTR_MASK == MEMATTR_NORMAL_WB and bank is not None
        if not attrs & VALID or held is not ownership.OWNED or not memory:
            raise NotDonatable(f"{host.name}: {ipa:#x} is {ownership.name(attrs)}")
        end = ipa + pages * PAGE
        if any(ipa <= page < end for page in host.pinned):
            raise NotDonatable(f"{host.name}: the trusted OS may use pages from {ipa:#x}")

    def give_back(self, pa: int, pages: int) -> Iterator[tuple[int, int]]:
        """Pages are nobody's any more: those of a host are its own again, the others returned."""
        end = pa + pages * PAGE
        while pa < end:
            found = [each for each in self._away if each.pa <= pa < each.end]
            others = [each.pa for each in self._away if pa < each.pa]
            stop = min([end, *others, *(each.end for each in found)])
            count = (stop - pa) // PAGE
            if not any(self._returned(each, pa, count) for each in reversed(found)):
                yield pa, count
            pa = stop

    def _returned(self, donation: Donation, pa: int, pages: int) -> bool:
        """Pages of a donation are away no more; whether they are the host's again."""
        at = self._away.index(donation)
        self._away[at : at + 1] = _rest(donation, pa, pages)
        return self._restored(donation.host, donation.ipa + pa - donation.pa, pa, pages)

    def _restored(self, host: Vm, ipa: int, pa: int, pages: int) -> bool:
        """Whether pages are the host's again; it may be gone, or have no room for the tables."""
        if not host.alive or host.stage2 is None:
            return False
        try:
            host.stage2.update(ipa, pages, ownership.MASK, VALID)
        except NoPages:
            return False
        self._tell(events.MemoryReturned(host.name, ((ipa, pa, pages),)))
        return True

    def _tell(self, event: events.MemoryDonated | events.MemoryReturned) -> None:
        if self._hypervisor.tracer is not None:
            self._hypervisor.tracer.record(event)


def _rest(donation: Donation, pa: int, pages: int) -> list[Donation]:
    """What is left of a donation of which some pages have come back."""
    before = (pa - donation.pa) // PAGE
    after = donation.pages - before - pages
    found = []
    if before:
        found.append(replace(donation, pages=before))
    if after:
        skipped = (before + pages) * PAGE
        found.append(
            replace(donation, pa=donation.pa + skipped, pages=after, ipa=donation.ipa + skipped)
        )
    return found
