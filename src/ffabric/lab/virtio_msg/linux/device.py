"""A device as Linux's transport has it: what it asks, in which order, and how it judges answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from ffabric.guests.ffa import Ffa
from ffabric.lab.virtio_msg.linux import wire
from ffabric.lab.virtio_msg.linux.pool import Buffer, Pool
from ffabric.lab.virtio_msg.linux.ring import DriverRing, parts
from ffabric.lab.virtio_msg.linux.wire import Form, Kind, LinuxError

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 64, 128
INDIRECT_DESC: Final = 1 << 28
VERSION_1: Final = 1 << 32
ACCESS_PLATFORM: Final = 1 << 33
MOST_BLOCKS: Final = 4
"""Blocks of 32 feature bits that Linux has room for."""
RESETS: Final = 1_000
"""How often the status is read after a reset: each 10 ms for 10 s."""
CONFIG_TRIES: Final = 5
CONFIG_ROOM: Final = 84
"""Bytes of configuration in a message of 104 bytes."""
QUEUE_SIZE: Final = 128


class Bus(Protocol):
    """What a device needs of the bus that it is on."""

    ffa: Ffa
    form: Form
    pool: Pool

    async def request(
        self, kind: Kind, device: int, *values: object, more: bytes = b"", tail: int | None = 0
    ) -> tuple[tuple[int, ...], bytes]:
        """A request: the fields of its response, and the ``tail`` bytes behind (None: any)."""

    async def event(self, kind: Kind, device: int, *values: object) -> None:
        """An event."""

    def hear(self) -> bool:
        """Pass on events that have come in the place of responses: whether there were any."""

    async def wait(self, until: Callable[[], bool], what: str) -> None:
        """Poll until that is true. LinuxError -ETIMEDOUT if it takes too long."""


class Virtqueue:
    """A virtqueue: the ring, and the memory that it and its requests have."""

    def __init__(self, ring: DriverRing, memory: Buffer, table: Buffer) -> None:
        self.ring, self.memory, self.table = ring, memory, table
        self.ready = False
        """The device has said that it has used something."""


class LinuxDevice:
    """The device with a ``number``. All methods raise LinuxError."""

    def __init__(self, bus: Bus, number: int) -> None:
        self.bus, self.number = bus, number
        self.id = self.config_size = self.max_queues = self.features = self.status = 0
        self.generation = 0
        self.identified = False
        """It has said what it is. Before, Linux has no such device, and drops its events."""
        self.removed = False
        self.queues: list[Virtqueue] = []
        self.changed: list[tuple[int, int]] = []
        """(offset, bytes) of what has changed in the configuration."""

    async def bring_up(self, wanted: int = (1 << 24) - 1) -> None:
        """To DRIVER_OK, with those of the ``wanted`` features of its type that it has."""
        await self._identify()
        await self.reset()
        await self._say(ACKNOWLEDGE)
        await self._say(ACKNOWLEDGE | DRIVER)
        await self._choose(wanted | INDIRECT_DESC | VERSION_1 | ACCESS_PLATFORM)
        for index in range(self.max_queues):
            self.queues.append(await self._set_up(index))
        done = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK
        if await self._say(done) != done:
            raise LinuxError(wire.EIO, f"device {self.number} is not ready: {self.status:#x}")

    async def _identify(self) -> None:
        form = self.bus.form
        fields, _ = await self.bus.request(form.info, self.number)
        self.id = fields[0]
        blocks, self.config_size, self.max_queues, start, count = fields[-5:]
        if not self.id:
            raise LinuxError(wire.ENODEV, f"device {self.number} has id 0")
        blocks = blocks * form.feature_unit // 32
        if blocks > MOST_BLOCKS:
            raise LinuxError(wire.E2BIG, f"device {self.number} has {blocks} blocks of features")
        if count and start + count > self.max_queues:
            raise LinuxError(wire.EPROTO, f"administration virtqueues {start} to {start + count}")
        self._blocks, self.identified = blocks, True

    async def reset(self) -> None:
        """Status 0, until it reads 0 (virtio 1.3, 2.4.2; pr28, Device Reset)."""
        status = await self._say(0)
        for _ in range(RESETS):
            if not status:
                break
            await self.bus.ffa.yield_()
            ((status,), _) = await self.bus.request(wire.GET_STATUS, self.number)
        if status:
            raise LinuxError(wire.ETIMEDOUT, f"device {self.number} does not reset")
        for queue in self.queues:
            await self.bus.pool.put(queue.memory)
            await self.bus.pool.put(queue.table)
        self.queues.clear()

    async def _say(self, status: int) -> int:
        ((self.status,), _) = await self.bus.request(wire.SET_STATUS, self.number, status)
        return self.status

    async def _choose(self, wanted: int) -> None:
        offered = 0
        for block in range(self._blocks):
            fields, bits = await self.bus.request(wire.GET_FEATURES, self.number, block, 1, tail=4)
            if fields != (block, 1):
                raise LinuxError(wire.EPROTO, f"GET_DEVICE_FEATURES of block {block}: {fields}")
            offered |= int.from_bytes(bits, "little") << 32 * block
        for bit, name in ((VERSION_1, "VERSION_1"), (ACCESS_PLATFORM, "ACCESS_PLATFORM")):
            if not offered & bit:
                raise LinuxError(wire.ENODEV, f"device {self.number} lacks {name}")
        self.features = offered & wanted
        for block in range(self._blocks):
            bits = (self.features >> 32 * block & 0xFFFF_FFFF).to_bytes(4, "little")
            await self.bus.request(wire.SET_FEATURES, self.number, block, 1, more=bits)
        chosen = ACKNOWLEDGE | DRIVER | FEATURES_OK
        if not await self._say(chosen) & FEATURES_OK:
            raise LinuxError(wire.ENODEV, f"device {self.number} takes not {self.features:#x}")

    async def _set_up(self, index: int) -> Virtqueue:
        """GET, SET, GET (pr28, Virtqueue Configuration): inactive before, as it was set after."""
        bus, form = self.bus, self.bus.form
        before, _ = await bus.request(wire.GET_VQUEUE, self.number, index)
        most, size = before[1], before[2]
        if before[0] != index or not most:
            raise LinuxError(wire.EPROTO, f"GET_VQUEUE of virtqueue {index}: {before}")
        if size or before[3] & form.enabled:
            raise LinuxError(wire.EBUSY, f"virtqueue {index} is in use")
        if any(before[4:]):
            raise LinuxError(wire.EPROTO, f"virtqueue {index} has addresses and no size")
        size = min(QUEUE_SIZE, 1 << most.bit_length() - 1)
        _, total = parts(0, size)
        memory, table = await bus.pool.get(total), await bus.pool.get(16 * size)
        ring = DriverRing(bus.ffa.memory.read, bus.ffa.memory.write, memory.ipa, size)
        at, _ = parts(memory.dma, size)
        flags = form.enabled
        first = (index, flags, size, 0) if form is wire.V2 else (index, 0, size, 0)
        await bus.request(wire.SET_VQUEUE, self.number, *first, *at)
        after, _ = await bus.request(wire.GET_VQUEUE, self.number, index)
        if after != (index, most, size, flags, *at):
            raise LinuxError(wire.EPROTO, f"GET_VQUEUE of virtqueue {index}: {after}")
        return Virtqueue(ring, memory, table)

    async def read_config(self, offset: int, length: int) -> bytes:
        """In chunks, again if the generation has changed between two of them."""
        if offset + length > self.config_size:
            raise LinuxError(wire.EINVAL, f"{length} bytes at {offset} of {self.config_size}")
        for _ in range(CONFIG_TRIES):
            data, generations = b"", set()
            while len(data) < length:
                at, count = offset + len(data), min(CONFIG_ROOM, length - len(data))
                fields, part = await self.bus.request(
                    wire.GET_CONFIG, self.number, at, count, tail=count
                )
                if fields[1:] != (at, count):
                    raise LinuxError(wire.EPROTO, f"GET_CONFIG of {count} at {at}: {fields}")
                data += part
                generations.add(fields[0])
            if len(generations) <= 1:
                self.generation = max(generations, default=self.generation)
                return data
        raise LinuxError(wire.EBUSY, "the configuration keeps changing")

    async def write_config(self, offset: int, data: bytes) -> None:
        """With the generation that was seen last, if that counts (v2: 0)."""
        if self.bus.form.strict and not self.generation:
            await self.read_config(offset, len(data))
        self.bus.hear()
        generation = self.generation if self.bus.form.strict else 0
        values = (generation, offset, len(data))
        fields, _ = await self.bus.request(
            wire.SET_CONFIG, self.number, *values, more=data, tail=None
        )
        if fields[1:] != (offset, len(data)):
            raise LinuxError(wire.EIO, f"SET_CONFIG at {offset}: {fields}")
        self.generation = fields[0]

    def on_event(self, got: wire.Got) -> None:
        """EVENT_USED and EVENT_CONFIG, of exact sizes, about what there is."""
        if got.id == wire.EVENT_USED.id:
            (index,) = wire.unpack(wire.EVENT_USED, got)
            if index >= self.max_queues:
                raise LinuxError(wire.EINVAL, f"EVENT_USED of virtqueue {index}")
            if index < len(self.queues):
                self.queues[index].ready = True
        elif got.id == wire.EVENT_CONFIG.id:
            self._on_config(got.payload)
        else:
            raise LinuxError(wire.EPROTO, f"event {got.id:#x} of device {self.number}")

    def _on_config(self, payload: bytes) -> None:
        layout = wire.EVENT_CONFIG.request
        if len(payload) < layout.size:
            raise LinuxError(wire.EINVAL, f"EVENT_CONFIG of {len(payload)} bytes")
        status, generation, offset, length = layout.unpack_from(payload)
        if len(payload) != layout.size + length or offset + length > self.config_size:
            what = f"EVENT_CONFIG of {length} at {offset}, of {self.config_size}"
            raise LinuxError(wire.EINVAL, f"{what} (pr28, EVENT_CONFIG)")
        self.status, self.generation = status, generation
        self.changed.append((offset, length))

    async def request(
        self, index: int, out: bytes, room: int, data: Sequence[tuple[Buffer, int, bool]] = ()
    ) -> bytes:
        """A request: ``out``, buffers of (memory, bytes, writable), and ``room`` for the answer.

        The readable buffers go before the writable ones. What is in the room afterwards.
        """
        bus, queue = self.bus, self.queues[index]
        small = await bus.pool.get(max(len(out) + room, 1))
        bus.ffa.memory.write(small.ipa, out)
        pieces = [(small.dma, len(out), False)] if out else []
        pieces += [(memory.dma, size, write) for memory, size, write in data]
        if room:
            pieces.append((small.dma + len(out), room, True))
        table = (queue.table.ipa, queue.table.dma) if self.features & INDIRECT_DESC else None
        head = queue.ring.add(pieces, table if len(pieces) > 1 else None)
        await bus.event(wire.EVENT_AVAIL, self.number, index, 0)
        done: list[tuple[int, int]] = []

        def used() -> bool:
            if self.removed or self.status & NEEDS_RESET:
                raise LinuxError(wire.EIO, f"device {self.number} is gone, or needs a reset")
            done.extend(queue.ring.used())
            return bool(done)

        await bus.wait(used, f"device {self.number} does not finish a request")
        queue.ready = False
        if done[0][0] != head:
            raise LinuxError(wire.EIO, f"head {done[0][0]} was used, and not {head}")
        answer = bus.ffa.memory.read(small.ipa + len(out), room)
        await bus.pool.put(small)
        return answer
