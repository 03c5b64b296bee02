"""Virtqueues: a device follows what a hostile driver has written as the specification says."""

from __future__ import annotations

from ffabric.abi.virtio import ring
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.dma import Coherent, QueueError
from ffabric.guests.virtio.driver_queue import DriverQueue
from ffabric.lab.faults.rings import FlatMemory, Rings
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.properties.trial import Trial, right

Descriptor = tuple[int, int, int]
"""Length, flags, the next one."""


def at_the_device(trial: Trial) -> None:
    """Descriptors in any order, in circles and beyond the table; heads and indices likewise."""
    random = trial.random
    size = random.choice((1, 2, 4, 8))
    rings = Rings(size)
    table: list[Descriptor] = []
    for index in range(size):
        flags = random.choice((0, ring.DESC_NEXT, ring.DESC_NEXT, ring.DESC_WRITE))
        following = random.choice(((index + 1) % size, random.randrange(size), size, 0xFFFF))
        table.append((random.choice((1, 8, 64)), flags, following))
        rings.describe(index, *table[-1])
    trial.tried += 1
    if trial.chance(0.1):
        claimed = random.choice((size + 1, 2 * size + 1, 0x4000, 0xFFFF))
        rings.claim(claimed)
        _refused(rings, f"{claimed} chains are available in a virtqueue of {size}")
        return
    heads = [random.choice((*range(size), *range(size), size, 0x7FFF)) for _ in range(size)]
    rings.offer(*heads)
    for head in heads:
        trial.tried += 1
        expected = _followed(table, head)
        if expected is None:
            _refused(rings, f"a chain that begins at {head} of {table}")
            return
        try:
            chain = rings.queue.pop()
        except QueueError as error:
            raise Discrepancy(f"a chain from {head} of {table}: {error}") from error
        assert chain is not None
        found = chain.head, chain.readable_size, chain.writable_size
        right(found == (head, *expected), f"{found} of a chain {expected} from {head}")
        rings.queue.push(head, 0)


def _followed(table: list[Descriptor], head: int) -> tuple[int, int] | None:
    """Bytes that the device may read and write of a chain; None if it is none."""
    sizes, index, writes = [0, 0], head, False
    for _ in range(len(table)):
        if index >= len(table):
            return None
        length, flags, following = table[index]
        if writes and not flags & ring.DESC_WRITE:
            return None
        writes = bool(flags & ring.DESC_WRITE)
        sizes[writes] += length
        if not flags & ring.DESC_NEXT:
            return sizes[0], sizes[1]
        index = following
    return None


def _refused(rings: Rings, what: str) -> None:
    try:
        rings.queue.pop()
    except QueueError:
        return
    raise Discrepancy(f"{what}: followed")


def at_the_driver(trial: Trial) -> None:
    """A device uses chains in any order, some of which it has not got."""
    random = trial.random
    size = random.choice((2, 4, 8))
    memory = FlatMemory()
    driver = DriverQueue[int](memory, Coherent(0, 0, 2 * PAGE), size)
    heads: dict[int, int] = {}
    for token in range(random.randrange(1, size + 1)):
        length = random.choice((1, 8, 64))
        right(driver.add([(PAGE, length, True)], token), "a virtqueue is full too early")
        at = driver.place.avail + ring.RING_OFFSET + 2 * token
        heads[memory.read16(at)] = token
    order = random.sample([*heads], random.randrange(1, len(heads) + 1))
    trial.tried += len(order)
    forged = trial.chance(0.4)
    if forged:
        wrong = random.choice((size, 0x77, 0xFFFF_FFFF, order[0], *range(size)))
        order.append(wrong)
        forged = wrong not in heads or wrong in order[:-1]
    used = driver.place.used
    for at, head in enumerate(order):
        entry = ring.USED_ENTRY.pack(head, 1)
        memory.write(used + ring.RING_OFFSET + ring.USED_ENTRY.size * (at % size), entry)
    memory.write16(used + ring.INDEX_OFFSET, len(order))
    try:
        done = driver.collect()
    except QueueError as error:
        right(forged, f"chains {order} of {[*heads]}: {error}")
        return
    right(not forged, f"a device has used {order}, it had {[*heads]}")
    tokens = [token for token, _ in done]
    expected = [heads[head] for head in order]
    right(tokens == expected, f"the driver has back {tokens}, the device has used {expected}")
