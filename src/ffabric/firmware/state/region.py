"""Memory transactions in progress: what was sent, by whom, to whom, and who has it now.

A *region* lives from FFA_MEM_DONATE, LEND or SHARE until FFA_MEM_RECLAIM (or, donated, until it is
retrieved). Its state is the states of its borrowers (DEN0140 1.2, section 2.3)::

    sent -> retrieved by some -> relinquished by all -> reclaimed

The owner's descriptors carry the other half of the state, see ``ownership``.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from msgspec import Struct

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.memory import HANDLE_HYPERVISOR
from ffabric.abi.ffa.memory_words import Attributes
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import LATEST
from ffabric.firmware.state.ownership import BITS, DONATING, LENT, MASK, SHARED
from ffabric.firmware.state.rules import refuse, rule
from ffabric.machine.translation.descriptors import MEMATTR_MASK, MEMATTR_NORMAL_WB, VALID
from ffabric.machine.translation.stage2 import Run, Stage2

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import Partition

HANDLE = rule(
    "mem.handle",
    Status.INVALID_PARAMETERS,
    "DEN0140 1.2, section 1.10.2",
    "The handle identifies a memory transaction in progress.",
)
TOO_MANY = rule(
    "mem.too_many_regions",
    Status.NO_MEMORY,
    "DEN0140 1.2, section 2.4",
    "The relayer has room to track one more transaction of the sender.",
)

TOO_MANY_PIECES = rule(
    "mem.too_many_fragmented",
    Status.NO_MEMORY,
    "DEN0140 1.2, section 2.4",
    "The relayer has room for one more transaction of the caller that is not complete.",
)

MAX_REGIONS = 1024
"""Transactions a sender may have in progress."""
MAX_RANGES = 1 << 18
"""Address ranges that they may have in all: 1 GiB in single pages."""
MAX_PENDING = 64
"""Transactions that lack fragments, of one caller, in whatever names it sends."""
ATTRIBUTE_BITS = Attributes.defined(LATEST)
"""The attributes that have a meaning: senders of v1.0 and after leave noise in the others."""
DESCRIBED = 0
"""In place of an endpoint: the normal world, whose hypervisor asks what a handle stands for."""

_NONE = (0, 0)


class Kind:
    """DONATE, LEND or SHARE: what it does to the owner's descriptors, and its type flag.

    ``permissions`` are those that its sender may give, as bytes of a descriptor.
    """

    __slots__ = ("functions", "name", "owner_clear", "owner_set", "permissions", "type_flag")

    def __init__(
        self,
        name: str,
        *,
        functions: tuple[int, int],
        type_flag: int,
        clear: int,
        set_: int,
        permissions: tuple[int, ...],
    ) -> None:
        self.name = name
        self.functions = functions
        self.type_flag = type_flag
        self.owner_clear = clear | MASK
        self.owner_set = set_
        self.permissions = permissions

    def __repr__(self) -> str:
        return self.name

    def __deepcopy__(self, memo: dict[int, object]) -> Kind:
        """Itself: there are three kinds, which are compared by identity."""
        return self


DONATE = Kind(
    "donate",
    functions=(fid.FFA_MEM_DONATE_32, fid.FFA_MEM_DONATE_64),
    type_flag=mem.FLAG_TYPE_DONATE,
    clear=VALID,
    set_=BITS[DONATING],
    permissions=(mem.PERM_DATA_NOT_SPECIFIED,),
)
LEND = Kind(
    "lend",
    functions=(fid.FFA_MEM_LEND_32, fid.FFA_MEM_LEND_64),
    type_flag=mem.FLAG_TYPE_LEND,
    clear=VALID,
    set_=BITS[LENT],
    permissions=(mem.PERM_DATA_RW, mem.PERM_DATA_RO),
)
SHARE = Kind(
    "share",
    functions=(fid.FFA_MEM_SHARE_32, fid.FFA_MEM_SHARE_64),
    type_flag=mem.FLAG_TYPE_SHARE,
    clear=0,
    set_=BITS[SHARED],
    permissions=(mem.PERM_DATA_RW, mem.PERM_DATA_RO),
)
KINDS = {function: kind for kind in (DONATE, LEND, SHARE) for function in kind.functions}


class Borrower(Struct, eq=False):
    """A receiver of a region: what it was offered and where it has it."""

    endpoint: int
    permissions: int
    impdef: tuple[int, int]
    held: list[tuple[int, int, int]] | None = None
    """(IPA, PA, pages) of each range it has mapped; None: not retrieved."""
    extents: list[tuple[int, int, int]] = []
    """The same, those that adjoin as one."""
    holder: Partition | None = None
    """Who has it mapped: the endpoint itself, whatever has become of its id."""
    clear_after: bool = False


def region_of(
    kind: Kind, owner: Partition, sent: abi.Transaction, length: int, received: int
) -> Region:
    """The region that ``sent`` asks for; its descriptor has ``length`` bytes."""
    assert owner.stage2 is not None
    return Region(
        kind,
        owner,
        sent.sender,
        sent.attributes & ATTRIBUTE_BITS,
        sent.flags,
        sent.tag,
        [Borrower(each.endpoint, each.permissions, each.impdef) for each in sent.receivers],
        sent.constituents,
        sent.range_count,
        sent.total_pages,
        length,
        received,
        owner.version,
        owner.stage2,
    )


class Response:
    """A retrieve response that did not fit RX, until its last fragment is read."""

    __slots__ = ("data", "sender", "sent")

    def __init__(self, data: bytes, sent: int, sender: int) -> None:
        self.data = data
        self.sent = sent
        self.sender = sender


class Region(Struct, eq=False):
    """A memory transaction in progress."""

    kind: Kind
    owner: Partition
    """The partition whose stage-2 says whose the pages are."""
    sender: int
    attributes: int
    flags: int
    tag: int
    borrowers: list[Borrower]
    constituents: list[tuple[int, int]]
    declared_ranges: int
    total_pages: int
    length: int
    """Bytes of the descriptor, of which so many were ``received``."""
    received: int
    version: int
    """The sender's."""
    stage2: Stage2
    """The owner's."""
    handle: int = 0
    extents: list[tuple[int, int]] = []
    """The constituents, those that adjoin as one: what the owner's tables are changed by."""
    runs: list[Run] = []
    """(owner's IPA, PA, pages, attributes) as they were before the transaction."""
    held: int = 0
    """Bits of the owner's descriptors: memory type, security state, the access that it had to all
    pages."""
    remote: bool = False
    """Another manager relays it too and allocated its handle."""

    def borrower(self, endpoint: int) -> Borrower | None:
        """The receiver with this endpoint id."""
        for each in self.borrowers:
            if each.endpoint == endpoint:
                return each
        return None

    @property
    def device(self) -> bool:
        """Whether it is device memory."""
        return self.held & MEMATTR_MASK != MEMATTR_NORMAL_WB

    @property
    def sent_as_device(self) -> bool:
        """Whether its borrowers have it as device memory, which it is or was sent as."""
        return self.device or self.attributes & mem.MEM_ATTR_TYPE_MASK == mem.MEM_ATTR_TYPE_DEVICE

    @property
    def retrieved(self) -> list[int]:
        """Endpoint ids that have it mapped."""
        return [each.endpoint for each in self.borrowers if each.held is not None]


class Live(dict[int, Region]):
    """Complete transactions by handle; to look for an unknown one (`[]`) is refused."""

    def __missing__(self, handle: int) -> Region:
        refuse(HANDLE, got=handle, expected="a handle of a complete transaction")


class Regions:
    """The transactions a manager tracks, by handle; ``pending`` ones lack fragments."""

    def __init__(self, allocator_bit: int) -> None:
        self.allocator_bit = allocator_bit
        self.live = Live()
        self.pending: dict[int, Region] = {}
        self.responses: dict[tuple[int, int], Response] = {}
        """What remains to be read of retrieve responses, by handle and endpoint."""
        self.counts: dict[int, tuple[int, int]] = {}
        """Transactions of each sender, and the address ranges in them."""
        self._free: list[int] = []
        self._next = 0

    def allocate(self) -> int:
        """The lowest number that no transaction has: handles are small, and used again."""
        if self._free:
            return heapq.heappop(self._free) | self.allocator_bit
        self._next += 1
        return (self._next - 1) | self.allocator_bit

    def check_room(self, owner: Partition, sender: int, ranges: int, *, complete: bool) -> None:
        """Refuse unless ``sender`` may have one more transaction, of so many ``ranges``.

        One that lacks fragments counts for its caller, which may speak for many senders.
        """
        if not complete:
            pending = [each for each in self.pending.values() if each.owner is owner]
            ranges_pending = ranges + sum(each.declared_ranges for each in pending)
            if len(pending) >= MAX_PENDING or ranges_pending > MAX_RANGES:
                refuse(
                    TOO_MANY_PIECES,
                    got=(len(pending) + 1, ranges_pending),
                    expected=f"up to {MAX_PENDING} of {MAX_RANGES} ranges",
                )
        count, held = self.counts.get(sender, _NONE)
        if count >= MAX_REGIONS or held + ranges > MAX_RANGES:
            refuse(
                TOO_MANY,
                got=(count + 1, held + ranges),
                expected=f"up to {MAX_REGIONS} of {MAX_RANGES} ranges",
            )

    def add(self, region: Region, *, pending: bool = False) -> None:
        """Track ``region`` under its handle."""
        (self.pending if pending else self.live)[region.handle] = region
        count, ranges = self.counts.get(region.sender, _NONE)
        self.counts[region.sender] = (count + 1, ranges + region.declared_ranges)

    def complete(self, region: Region) -> None:
        """Track ``region`` as complete: under the handle that its fragments had, or a new one."""
        if self.pending and self.pending.get(region.handle) is region:
            self.live[region.handle] = self.pending.pop(region.handle)
        else:
            region.handle = self.allocate()
            self.add(region)

    def remove(self, region: Region) -> None:
        """Forget ``region``."""
        handle, sender = region.handle, region.sender
        del (self.live if handle in self.live else self.pending)[handle]
        if handle & HANDLE_HYPERVISOR == self.allocator_bit:
            heapq.heappush(self._free, handle & ~HANDLE_HYPERVISOR)
        count, ranges = self.counts[sender]
        if count == 1:
            del self.counts[sender]
        else:
            self.counts[sender] = (count - 1, ranges - region.declared_ranges)
        if self.responses:
            self.responses.pop((handle, DESCRIBED), None)
