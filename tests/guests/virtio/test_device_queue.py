"""Virtqueues from both sides: what a hostile peer may write into them, and what it gets."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio import ring
from ffabric.guests.virtio.device_queue import MAX_CHAIN_BYTES, DeviceQueue, Place
from ffabric.guests.virtio.dma import BadAddress, Coherent, QueueError
from ffabric.guests.virtio.driver_queue import DriverQueue, queue_size

SIZE = 8
BASE = 0x1_0000
MEMORY = 0x4000
DATA = BASE + 0x2000
READ_ONLY = BASE + 0x3000
BOTH = bits.EVENT_IDX | bits.INDIRECT_DESC


class Memory:
    """What a device can reach: the last page of it only for reading."""

    def __init__(self):
        self.data = bytearray(MEMORY)

    def check(self, address, size, *, write):
        if not BASE <= address <= address + size <= BASE + MEMORY:
            raise BadAddress(address, size, "outside")
        if write and address + size > READ_ONLY:
            raise BadAddress(address, size, "read-only")

    def read16(self, address):
        return int.from_bytes(self.read(address, 2), "little")

    def write16(self, address, value):
        self.write(address, value.to_bytes(2, "little"))

    def read(self, address, size):
        self.check(address, size, write=False)
        return bytes(self.data[address - BASE : address - BASE + size])

    def write(self, address, data):
        self.check(address, len(data), write=True)
        self.data[address - BASE : address - BASE + len(data)] = data


class Rings:
    """A driver that writes what it likes."""

    def __init__(self, features=BOTH):
        self.memory = Memory()
        desc, avail, used, _ = ring.layout(SIZE)
        self.place = Place(SIZE, BASE + desc, BASE + avail, BASE + used)
        self.queue = DeviceQueue(self.memory, self.place, features)

    def describe(self, index, address, length, flags=0, following=0, *, table=None):
        at = (self.place.desc if table is None else table) + 16 * index
        self.memory.write(at, struct.pack("<QIHH", address, length, flags, following))

    def offer(self, *heads, index=None):
        for slot, head in enumerate(heads):
            self.memory.write(self.place.avail + 4 + 2 * slot, struct.pack("<H", head))
        count = len(heads) if index is None else index
        self.memory.write(self.place.avail + 2, struct.pack("<H", count))


NEXT, WRITE, INDIRECT = ring.DESC_NEXT, ring.DESC_WRITE, ring.DESC_INDIRECT


def test_a_chain():
    rings = Rings()
    rings.describe(0, DATA, 4, NEXT, 5)
    rings.describe(5, DATA + 8, 16, WRITE)
    rings.memory.write(DATA, b"ping")
    rings.offer(0)
    chain = rings.queue.pop()
    assert (chain.head, chain.readable_size, chain.writable_size) == (0, 4, 16)
    assert rings.queue.read(chain) == b"ping"  # type: ignore[arg-type]
    assert rings.queue.write(chain, b"pong" * 9) == 16  # type: ignore[arg-type]
    rings.queue.push(chain.head, 16)
    assert rings.memory.read(rings.place.used, 12) == struct.pack("<HHII", 0, 1, 0, 16)
    assert rings.queue.pop() is None
    assert rings.memory.read(DATA + 8, 24) == b"pong" * 4 + bytes(8)


def test_an_indirect_chain_after_a_direct_descriptor():
    rings = Rings()
    rings.describe(0, DATA, 1, NEXT, 1)
    rings.describe(1, DATA + 64, 32, INDIRECT)
    rings.describe(0, DATA + 128, 2, NEXT, 1, table=DATA + 64)
    rings.describe(1, DATA + 256, 3, WRITE, table=DATA + 64)
    rings.offer(0)
    chain = rings.queue.pop()
    assert chain.readable == [(DATA, 1), (DATA + 128, 2)]
    assert chain.writable == [(DATA + 256, 3)]


def loop(rings):
    rings.describe(0, DATA, 4, NEXT, 1)
    rings.describe(1, DATA, 4, NEXT, 0)


def loop_in_table(rings):
    rings.describe(0, DATA, 32, INDIRECT)
    rings.describe(0, DATA + 64, 1, NEXT, 0, table=DATA)


def nested(rings):
    rings.describe(0, DATA, 32, INDIRECT)
    rings.describe(0, DATA, 32, INDIRECT, table=DATA)


def huge(rings):
    """Each piece is there, and all together they are more than a chain may carry."""
    rings.memory.check = lambda *_, **__: None
    for index in range(3):
        rings.describe(index, BASE, MAX_CHAIN_BYTES // 2, NEXT, index + 1)
    rings.offer(0)


def itself(rings):
    """An indirect table that is the descriptor table."""
    rings.describe(0, rings.place.desc, 16 * SIZE, INDIRECT)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (loop, "more than 8 descriptors"),
        (loop_in_table, "more than 8 descriptors"),
        (nested, "indirect descriptor in an indirect table"),
        (huge, "more than 4294967296 bytes"),
        (itself, "indirect descriptor in an indirect table"),
        (lambda r: r.describe(0, DATA, 4, NEXT, SIZE), "descriptor 8 of 8"),
        (lambda r: r.describe(0, 0, 4), "outside"),
        (lambda r: r.describe(0, (1 << 64) - 2, 4), "outside"),
        (lambda r: r.describe(0, BASE + MEMORY - 2, 4), "outside"),
        (lambda r: r.describe(0, DATA, 0xFFFF_FFFF), "outside"),
        (lambda r: r.describe(0, READ_ONLY, 1, WRITE), "read-only"),
        (lambda r: r.describe(0, DATA, 24, INDIRECT), "table of 24 bytes"),
        (lambda r: r.describe(0, DATA, 0, INDIRECT), "table of 0 bytes"),
        (lambda r: r.describe(0, 0, 16, INDIRECT), "outside"),
        (lambda r: r.describe(0, DATA, 16, INDIRECT | NEXT, 1), "with a next one"),
        (
            lambda r: (r.describe(0, DATA, 1, WRITE | NEXT, 1), r.describe(1, DATA, 1)),
            "readable descriptor after a writable one",
        ),
    ],
)
def test_what_no_chain_is(make, reason):
    rings = Rings()
    make(rings)
    rings.offer(0)
    with pytest.raises(QueueError, match=reason):
        rings.queue.pop()


def fill(rings, count, *, before=0):
    """A chain of `before` direct descriptors and an indirect table of `count`."""
    for index in range(before):
        rings.describe(index, DATA, 1, NEXT, index + 1)
    rings.describe(before, DATA + 64, 16 * count, INDIRECT)
    for index in range(count):
        flags = NEXT if index + 1 < count else 0
        rings.describe(index, DATA + index, 1, flags, index + 1, table=DATA + 64)
    rings.offer(0)


@pytest.mark.parametrize("before", [0, 3])
def test_a_chain_may_be_as_long_as_the_queue_and_no_longer(before):
    """The descriptor that names the table is no piece of the chain (virtio 1.3, 2.7.5.3.1)."""
    rings = Rings()
    fill(rings, SIZE - before, before=before)
    assert len(rings.queue.pop().readable) == SIZE
    rings = Rings()
    fill(rings, SIZE - before + 1, before=before)
    with pytest.raises(QueueError, match="more than 8 descriptors"):
        rings.queue.pop()


def test_a_part_of_a_chain():
    rings = Rings()
    rings.describe(0, DATA, 4, NEXT, 1)
    rings.describe(1, DATA + 16, 4, NEXT, 2)
    rings.describe(2, DATA + 32, 4, NEXT | WRITE, 3)
    rings.describe(3, DATA + 48, 4, WRITE)
    rings.memory.write(DATA, b"0123")
    rings.memory.write(DATA + 16, b"4567")
    rings.offer(0)
    chain = rings.queue.pop()
    parts = [rings.queue.read(chain, start, 3) for start in (0, 2, 4, 7, 8)]  # type: ignore[arg-type]
    assert parts == [b"012", b"234", b"456", b"7", b""]
    assert rings.queue.write(chain, b"abc", 3) == 3  # type: ignore[arg-type]
    assert rings.queue.write(chain, b"xyz", 6) == 2  # type: ignore[arg-type]
    assert rings.memory.read(DATA + 32, 4) + rings.memory.read(DATA + 48, 4) == bytes(3) + b"abcxy"


def test_a_head_out_of_range():
    rings = Rings()
    rings.offer(SIZE)
    with pytest.raises(QueueError, match="descriptor 8 of 8"):
        rings.queue.pop()


@pytest.mark.parametrize("index", [SIZE + 1, 0xFFFF])
def test_more_available_than_there_can_be(index):
    rings = Rings()
    rings.offer(index=index)
    with pytest.raises(QueueError, match="under way"):
        rings.queue.pop()


def test_indirect_descriptors_need_the_feature():
    rings = Rings(features=0)
    rings.describe(0, DATA, 16, INDIRECT)
    rings.offer(0)
    with pytest.raises(QueueError, match="not negotiated"):
        rings.queue.pop()


@pytest.mark.parametrize(
    "place",
    [
        Place(0, BASE, BASE + 128, BASE + 256),
        Place(3, BASE, BASE + 128, BASE + 256),
        Place(1 << 16, BASE, BASE + 128, BASE + 256),
        Place(8, BASE + 8, BASE + 256, BASE + 512),
        Place(8, BASE, BASE + 129, BASE + 256),
        Place(8, BASE, BASE + 128, BASE + 258),
        Place(8, 0, BASE + 128, BASE + 256),
        Place(8, BASE, BASE + 128, BASE + MEMORY - 64),
        Place(8, BASE, BASE + 128, READ_ONLY),
        Place(8, BASE, (1 << 64) - 2, BASE + 256),
    ],
)
def test_what_no_virtqueue_is(place):
    with pytest.raises(QueueError):
        DeviceQueue(Memory(), place)


def test_one_pass_takes_no_more_chains_than_the_queue_has_descriptors():
    """A driver that adds buffers as fast as they are used cannot keep the device busy."""
    rings = Rings(features=0)
    rings.describe(0, DATA, 4)
    rings.offer(*[0] * SIZE)
    taken = 0
    for chain in rings.queue.chains():
        taken += 1
        rings.queue.push(chain.head, 0)
        rings.offer(*[0] * SIZE, index=SIZE + taken)
    assert taken == SIZE
    assert rings.queue.more


@given(st.binary(min_size=ring.layout(SIZE).total, max_size=ring.layout(SIZE).total), st.data())
def test_a_queue_of_any_bytes_is_served_or_refused(content, data):
    rings = Rings()
    rings.memory.write(BASE, content)
    if data.draw(st.booleans()):
        rings.offer(*range(SIZE), index=data.draw(st.integers(0, SIZE)))
    for index in data.draw(st.lists(st.integers(0, SIZE - 1), unique=True)):
        flags = data.draw(st.integers(0, 7))
        address = data.draw(st.sampled_from([DATA, DATA + 5, READ_ONLY, BASE]))
        length = data.draw(st.sampled_from([0, 16, 48, 0x1000]))
        rings.describe(index, address, length, flags, data.draw(st.integers(0, SIZE)))
    before = bytes(rings.memory.data[READ_ONLY - BASE :])
    try:
        for chain in rings.queue.chains():
            rings.queue.write(chain, rings.queue.read(chain))
            rings.queue.push(chain.head, 0)
        rings.queue.must_signal()
    except QueueError as error:
        assert str(error)  # noqa: PT017 - either is right
    assert rings.memory.data[READ_ONLY - BASE :] == before


class Ram:
    """The driver's view of the same memory, at the same addresses."""

    def __init__(self, memory):
        self.read16, self.write16 = memory.read16, memory.write16
        self.read = memory.read
        self.write = memory.write


@example(bits.EVENT_IDX, [*[(1, 0)] * SIZE, (1, 2), (1, 3), (1, 0)])
@given(
    st.sampled_from([0, bits.EVENT_IDX, bits.INDIRECT_DESC, BOTH]),
    st.lists(st.tuples(st.integers(1, SIZE), st.integers(0, 3)), max_size=60),
)
def test_both_sides_agree(features, rounds):
    """Whatever the order of adding, serving and collecting: each chain comes back once."""
    memory = Memory()
    driver = DriverQueue(
        Ram(memory), Coherent(BASE, BASE, queue_size(SIZE, features)), SIZE, features
    )
    device = DeviceQueue(memory, driver.place, features)
    added, back, due, told = 0, [], False, True
    for pieces, what in rounds:
        if what < 2:
            buffers = [(DATA + n, 1, n == pieces - 1) for n in range(pieces)]
            if driver.add(buffers, added):
                added += 1
                due |= driver.must_notify()
        elif what == 2 and due:
            due = False
            for chain in device.chains():
                assert chain.readable_size + chain.writable_size
                device.push(chain.head, chain.writable_size)
            due = device.more  # it serves as many as the queue has, and looks again
            told |= device.must_signal()
        elif told:
            back += [token for token, _ in driver.collect()]
            told = False
    while due:
        for chain in device.chains():
            device.push(chain.head, 1)
        due = device.more
    back += [token for token, _ in driver.collect()]
    assert sorted(back) == list(range(added))
    assert driver.under_way == 0


@pytest.mark.parametrize("features", [0, BOTH])
def test_a_driver_fills_a_whole_queue_with_one_chain(features):
    memory = Memory()
    coherent = Coherent(BASE, BASE, queue_size(SIZE, features))
    driver = DriverQueue(Ram(memory), coherent, SIZE, features)
    device = DeviceQueue(memory, driver.place, features)
    for _ in range(3):
        assert driver.add([(DATA + at, 1, False) for at in range(SIZE)], "all")
        assert driver.add([(DATA, 1, False)], "one more") is bool(features)
        for chain in device.chains():
            device.push(chain.head, 0)
        assert driver.collect()[0] == ("all", 0)
    with pytest.raises(ValueError, match="9 buffers in a virtqueue of 8"):
        driver.add([(DATA, 1, False)] * (SIZE + 1), "too long")


@pytest.mark.parametrize(
    ("used", "reason"),
    [
        (struct.pack("<HH", 0, 2), "1 chains are under way"),
        (struct.pack("<HHII", 0, 1, 3, 0), "descriptor 3 was used"),
        (struct.pack("<HHII", 0, 1, 0xFFFF_FFFF, 0), "was used and is not under way"),
    ],
)
def test_a_hostile_device_is_found_out(used, reason):
    memory = Memory()
    driver = DriverQueue(Ram(memory), Coherent(BASE, BASE, MEMORY), SIZE)
    assert driver.add([(DATA, 1, False)], "request")
    memory.write(driver.place.used, used)
    with pytest.raises(QueueError, match=reason):
        driver.collect()
