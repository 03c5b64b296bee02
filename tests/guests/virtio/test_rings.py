"""Virtqueues of all kinds, from both sides: split and packed, in order, with events at an index."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio import packed
from ffabric.guests.virtio.device_queue import Place
from ffabric.guests.virtio.dma import BadAddress, Coherent, QueueError
from ffabric.guests.virtio.packed_device_queue import PackedDeviceQueue
from ffabric.guests.virtio.rings import bytes_of, device_queue, driver_queue, is_possible

SIZE = 8
BUFFERS = 0x8000
FEATURES = [
    kind | event | indirect | order
    for kind in (0, bits.RING_PACKED)
    for event in (0, bits.EVENT_IDX)
    for indirect in (0, bits.INDIRECT_DESC)
    for order in (0, bits.IN_ORDER)
]


class Memory:
    """Both sides see it at the same addresses."""

    def __init__(self, size=0x10000):
        self.bytes = bytearray(size)

    def check(self, address, size, *, write):
        if address + size > len(self.bytes):
            raise BadAddress(address, size, "outside")

    def read16(self, address):
        return int.from_bytes(self.read(address, 2), "little")

    def write16(self, address, value):
        self.write(address, value.to_bytes(2, "little"))

    def read(self, address, size):
        self.check(address, size, write=False)
        return bytes(self.bytes[address : address + size])

    def write(self, address, data):
        self.check(address, len(data), write=True)
        self.bytes[address : address + len(data)] = data


def pair(features, size=SIZE):
    memory = Memory()
    coherent = Coherent(0, 0, bytes_of(size, features))
    driver = driver_queue(memory, coherent, size, features)
    return memory, driver, device_queue(memory, driver.place, features)


def request(number, pieces):
    """Pieces of one byte, the last of which the device writes."""
    at = BUFFERS + 16 * number
    return [(at + index, 1, index == pieces - 1) for index in range(pieces)]


@pytest.mark.parametrize("features", FEATURES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_everything_comes_back_once(features, data):
    _, driver, device = pair(features)
    under_way, chains, number = {}, [], 0
    for _ in range(data.draw(st.integers(5, 60))):
        what = data.draw(st.sampled_from(["add", "pop", "push", "collect"]))
        if what == "add":
            pieces = data.draw(st.integers(1, 4))
            if driver.add(request(number % 64, pieces), number):
                under_way[number] = pieces
                number += 1
        elif what == "pop":
            chain = device.pop()
            if chain is not None:
                chains.append(chain)
        elif what == "push" and chains:
            order = features & bits.IN_ORDER
            index = 0 if order else data.draw(st.integers(0, len(chains) - 1))
            chain = chains.pop(index)
            device.push(chain.head, 1)
        else:
            for token, written in driver.collect():
                del under_way[token]
                assert written == 1
    chains += device.chains()
    for chain in chains:
        device.push(chain.head, 1)
    assert {token for token, _ in driver.collect()} == under_way.keys()
    assert driver.under_way == 0
    assert driver.add(request(0, 4), "again")


@pytest.mark.parametrize("features", FEATURES)
def test_a_chain_is_what_was_put_in(features):
    _, driver, device = pair(features)
    for turn in range(3 * SIZE):
        buffers = request(turn % 8, 1 + turn % 4)
        assert driver.add(buffers, turn)
        chain = device.pop()
        assert chain.readable + chain.writable == [(at, size) for at, size, _ in buffers]
        assert len(chain.writable) == 1
        device.push(chain.head, turn)
        assert driver.collect() == [(turn, turn)]


@pytest.mark.parametrize("features", [each for each in FEATURES if each & bits.EVENT_IDX])
def test_one_notification_for_several_requests_both_ways(features):
    _, driver, device = pair(features)
    assert device.pop() is None  # it asks to be told
    for turn in range(6):
        assert driver.add(request(turn, 1), turn)
    driver.notify_after(6)
    assert driver.must_notify()
    assert not driver.must_notify(), "nothing is new"
    signals = 0
    for chain in device.chains():
        device.push(chain.head, 0)
        signals += device.must_signal()
    assert signals == 1
    assert len(driver.collect()) == 6


@pytest.mark.parametrize("features", FEATURES)
def test_whoever_is_not_told_not_to_tells(features):
    _, driver, device = pair(features)
    assert device.pop() is None
    for turn in range(2 * SIZE + 3):
        assert driver.add(request(0, 1), turn)
        assert driver.must_notify()
        (chain,) = device.chains()
        device.push(chain.head, 0)
        assert device.must_signal()
        assert len(driver.collect()) == 1


def test_a_driver_that_takes_several_at_once_in_order():
    memory, driver, device = pair(bits.IN_ORDER)
    for turn in range(4):
        driver.add(request(turn, 1), turn)
    chains = list(device.chains())
    memory.write(driver.place.used + 4, chains[3].head.to_bytes(4, "little") + b"\1\0\0\0")
    memory.write16(driver.place.used + 2, 4)
    assert driver.collect() == [(0, 0), (1, 0), (2, 0), (3, 1)]


def test_a_packed_driver_that_takes_several_at_once_in_order():
    memory, driver, device = pair(bits.IN_ORDER | bits.RING_PACKED)
    for turn in range(4):
        driver.add(request(turn, 1), turn)
    chains = list(device.chains())
    flags = packed.AVAIL | packed.USED
    memory.write(driver.place.desc, packed.DESCRIPTOR.pack(0, 1, chains[3].head, flags))
    assert driver.collect() == [(0, 0), (1, 0), (2, 0), (3, 1)]


def test_descriptors_as_the_specification_has_them():
    """Virtio 1.3, 2.8.1: the driver's wrap counter begins as 1."""
    memory, driver, device = pair(bits.RING_PACKED)
    driver.add([(0x1000, 16, False), (0x2000, 512, True)], "token")
    first, second = memory.read(0, 16), memory.read(16, 16)
    assert first[:12] == (0x1000).to_bytes(8, "little") + (16).to_bytes(4, "little")
    assert int.from_bytes(first[14:], "little") == 1 | 1 << 7
    assert int.from_bytes(second[14:], "little") == 2 | 1 << 7
    assert first[12:14] == second[12:14], "the id is in all of them here; the last one counts"
    (chain,) = device.chains()
    device.push(chain.head, 512)
    used = memory.read(0, 16)
    assert int.from_bytes(used[8:12], "little") == 512
    assert int.from_bytes(used[14:], "little") & 0x8080 == 0x8080


def test_positions_for_notification_data():
    _, driver, _ = pair(bits.RING_PACKED, size=4)
    assert driver.position == 1 << 31
    for turn in range(4):
        driver.add(request(turn, 1), turn)
    assert driver.position == 0, "at the beginning again, the wrap counter has changed"
    _, split, _ = pair(0, size=4)
    split.add(request(0, 1), 0)
    assert split.position == 1


@settings(max_examples=300, deadline=None)
@given(
    ring=st.binary(min_size=16 * SIZE, max_size=16 * SIZE),
    features=st.sampled_from([bits.RING_PACKED | each for each in FEATURES[:4]]),
)
def test_any_bytes_in_a_packed_ring_are_chains_or_a_queue_error(ring, features):
    memory = Memory()
    device = PackedDeviceQueue(memory, Place(SIZE, 0, 0x1000, 0x1004), features)
    memory.write(0, ring)
    try:
        for chain in device.chains():
            assert chain.readable_size + chain.writable_size <= 1 << 32
            device.push(chain.head, 0)
            device.must_signal()
    except QueueError:
        pass


def descriptor(address=0, length=1, number=0, flags=packed.AVAIL):
    return packed.DESCRIPTOR.pack(address, length, number, flags)


@pytest.mark.parametrize(
    ("ring", "reason"),
    [
        ([descriptor(flags=packed.AVAIL | 1)], "descriptor 1 of a chain is not available"),
        ([descriptor(flags=packed.AVAIL | 1)] * SIZE, f"more than {SIZE} descriptors"),
        ([descriptor(), descriptor()], "buffer 0 is under way already"),
        ([descriptor(address=1 << 40)], "outside"),
        ([descriptor(flags=packed.AVAIL | 4)], "which was not negotiated"),
        ([descriptor(flags=packed.AVAIL | 3), descriptor()], "readable descriptor after"),
    ],
)
def test_what_a_packed_ring_cannot_have(ring, reason):
    memory = Memory()
    device = PackedDeviceQueue(memory, Place(SIZE, 0, 0x1000, 0x1004), bits.RING_PACKED)
    memory.write(0, b"".join(ring))
    with pytest.raises(QueueError, match=reason):
        list(device.chains())


@pytest.mark.parametrize(
    ("place", "features", "possible"),
    [
        (Place(3, 0, 0x100, 0x104), bits.RING_PACKED, True),
        (Place(3, 0, 0x100, 0x104), 0, False),
        (Place(4, 8, 0x100, 0x104), bits.RING_PACKED, False),
        (Place(4, 0, 0x102, 0x104), bits.RING_PACKED, False),
        (Place(4, 0, 0x102, 0x104), 0, True),
        (Place(0, 0, 0x100, 0x104), bits.RING_PACKED, False),
    ],
)
def test_where_a_virtqueue_can_be(place, features, possible):
    assert is_possible(place, features) is possible


def test_a_device_that_uses_what_is_not_under_way():
    memory, driver, _ = pair(bits.RING_PACKED)
    driver.add(request(0, 1), "token")
    memory.write(0, descriptor(number=7, flags=packed.AVAIL | packed.USED))
    with pytest.raises(QueueError, match="buffer 7 was used and is not under way"):
        driver.collect()
