"""A tap on a FIFO: what two sides write into memory that they share, without a call for each.

Between two exits of a side nobody sees what it does. At its next exit, which its notification is at
the latest, the indices of both rings say what it has taken and what it has written since; there are
fewer messages between two looks than a ring has slots. What the other side did in the meantime was
seen at an exit of its own. A ring whose index is none is looked at no more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg import fifo as layout
from ffabric.abi.virtio_msg.generations import PR28
from ffabric.abi.virtio_msg.header import BUS, HEADER_SIZE, RESPONSE
from ffabric.abi.virtio_msg.message import parse
from ffabric.abi.words import PAGE
from ffabric.firmware.state.region import Borrower, Region
from ffabric.machine.memory import PhysicalMemory

_REQUEST, _RESPONSE = (bytes((type_, abi.FIFO_CONFIGURE.id)) for type_ in (BUS, BUS | RESPONSE))
Treat = Callable[[bytes], bytes | None]
"""What arrives in place of a message; None: it is lost."""


class Pages:
    """Physical pages in a row, as one piece of memory."""

    def __init__(self, memory: PhysicalMemory, ranges: list[tuple[int, int, int]]) -> None:
        self._memory = memory
        self._pages = [pa + PAGE * page for _, pa, count in ranges for page in range(count)]
        self.size = PAGE * len(self._pages)

    def _pieces(self, at: int, size: int) -> Iterator[tuple[memoryview, int]]:
        """The bytes from an offset on, page by page, with the offset of each piece in them."""
        done = 0
        while done < size:
            pa = self._pages[(at + done) // PAGE] + (at + done) % PAGE
            count = min(size - done, PAGE - (at + done) % PAGE)
            bank = self._memory.bank_at(pa)
            assert bank is not None  # it was shared
            yield bank.data[pa - bank.base : pa - bank.base + count], done
            done += count

    def read(self, at: int, size: int) -> bytes:
        """A copy of bytes."""
        return b"".join(bytes(piece) for piece, _ in self._pieces(at, size))

    def write(self, at: int, data: bytes) -> None:
        """Store bytes."""
        for piece, done in self._pieces(at, len(data)):
            piece[:] = data[done : done + len(piece)]

    def read16(self, at: int) -> int:
        """A word."""
        return int.from_bytes(self.read(at, 2), "little")


class _Ring:
    """A ring at an offset, as it was when it was looked at last."""

    def __init__(self, pages: Pages, base: int, slot: int, depth: int) -> None:
        self._pages, self._base, self._slot, self._depth = pages, base, slot, depth
        self._written = self._taken = 0
        self._under_way: deque[bytes] = deque()

    def written(self, treat: Treat) -> Iterator[bytes]:
        """What its producer has written since the last look, as it was written."""
        for number in self._since(self._written, layout.WRITE_INDEX):
            at = self._base + layout.SLOTS + number * self._slot
            sent = self._pages.read(at, self._slot)
            arriving = treat(sent)
            if arriving is None:
                arriving = b""  # an empty slot is no message
            if arriving != sent:
                self._pages.write(at, arriving[: self._slot].ljust(self._slot, b"\0"))
            self._under_way.append(arriving)
            self._written = (number + 1) % self._depth
            yield sent

    def taken(self) -> Iterator[bytes]:
        """What its consumer has taken since the last look."""
        for number in self._since(self._taken, layout.READ_INDEX):
            self._taken = (number + 1) % self._depth
            if self._under_way and (data := self._under_way.popleft()):
                yield data

    def _since(self, known: int, where: int) -> Iterator[int]:
        """Numbers of the slots from a known index on, up to the one in memory."""
        index = self._pages.read16(self._base + where)
        count = (index - known) % self._depth if index < self._depth else 0
        return iter([(known + at) % self._depth for at in range(count)])


class Ends(Struct):
    """Who is told of what a side has sent and received, and what arrives in its place."""

    sent: Callable[[bytes], object]
    received: Callable[[bytes], object]
    treat: Treat


class FifoTap:
    """The FIFO of one bus in ``pages``, which the device side has as long as it is `held`."""

    def __init__(self, pages: Pages, held: Borrower, rings: tuple[_Ring, _Ring]) -> None:
        self._pages, self._held = pages, held
        self._forth, self._back = rings

    @classmethod
    def open(
        cls, asked: bytes, regions: Iterable[dict[int, Region]], device: int, memory: PhysicalMemory
    ) -> FifoTap | None:
        """What the FIFO_CONFIGURE in ``asked`` names, once ``device`` has retrieved it.

        None if it names no FIFO, whatever the device side has said of it.
        """
        try:
            handle = parse(asked, PR28)["handle"]
        except DecodeError:
            return None
        for live in regions:
            region = live.get(handle)
            held = None if region is None else region.borrower(device)
            if held is not None and held.held:
                pages = Pages(memory, held.held)
                rings = _rings(pages)
                return None if rings is None else cls(pages, held, rings)
        return None

    @property
    def is_over(self) -> bool:
        """Whether the device side has given the memory back: it may be anybody's."""
        return self._held.held is None

    def look(self, driver: Ends, device: Ends, *, driver_exits: bool) -> None:
        """Tell both ends of all that has happened since the last look.

        Who makes an exit has taken messages first, and sent some after that.
        """
        back, forth = (self._back, device, driver), (self._forth, driver, device)
        for ring, producer, consumer in (back, forth) if driver_exits else (forth, back):
            for data in ring.taken():
                consumer.received(data)
            for data in ring.written(producer.treat):
                producer.sent(data)
            for data in ring.taken():  # in the same time slice
                consumer.received(data)


def _rings(pages: Pages) -> tuple[_Ring, _Ring] | None:
    """From driver to device, and back; None if there are none that fit into the memory."""
    record, found, at = layout.RING.at(), [], 0
    for _ in range(2):
        if at + layout.SLOTS > pages.size:
            return None
        fields = record.read(pages.read(at, record.size))
        slot, depth = fields["message_size"], fields["depth"]
        if slot < HEADER_SIZE or depth < 2 or at + layout.ring_size(slot, depth) > pages.size:
            return None
        found.append(_Ring(pages, at, slot, depth))
        at += fields["next_offset"]
    return found[0], found[1]


def is_request(data: bytes) -> bool:
    """Whether a message sets up a FIFO."""
    return data[:2] == _REQUEST


def is_accepted(data: bytes) -> bool:
    """Whether a message says that a FIFO is set up."""
    if data[:2] != _RESPONSE:
        return False
    try:
        return bool(parse(data, PR28)["result"] == abi.Result.OK)
    except DecodeError:
        return False
