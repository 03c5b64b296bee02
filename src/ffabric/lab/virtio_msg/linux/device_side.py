"""Linux's device side: a partition with a disk and a console, by indirect messages alone.

It judges what a driver side says as Linux's does: exact sizes, zero padding, device number 0 of the
bus, the order of bringing a bus and a device up, features, queues, attributes of areas. What is
wrong is in `violations`, each with its clause, and is answered as Linux answers it: with ERROR, or
with a result that says so.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, ClassVar, Final

from ffabric.abi.ffa.status import Status
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.partition import Partition
from ffabric.lab.virtio_msg.linux import carrier, device, wire
from ffabric.lab.virtio_msg.linux.ring import DeviceRing, Parts
from ffabric.lab.virtio_msg.linux.wire import Got, Kind, LinuxError

MAX_AREAS: Final = 64
BUS_FEATURES: Final = (
    wire.FEATURES["INDIRECT_RX"] | wire.FEATURES["INDIRECT_TX"] | wire.FEATURES["NOTIF_RX"]
)
MUST_BE: Final = 0x6C4
"""Of the attributes of an area: writable, write-back, normal, non-secure."""
MAY_BE: Final = MUST_BE | 0x30 | 1 << 11 | 1
"""Besides: shareable inner or outer, kept, lent instead of shared. All others are zero."""
OFFERED: Final = device.VERSION_1 | device.ACCESS_PLATFORM | device.INDIRECT_DESC
QUEUE_MOST: Final = 64
SECTOR: Final = 512
_BLOCK = struct.Struct("<IIQ")


class Model:
    """A device: its type, features, configuration, virtqueues, and what it does with a chain."""

    def __init__(
        self, number: int, features: int, config: bytes, queues: int, writable: range = range(0)
    ) -> None:
        self.id, self.features, self.config = number, features | OFFERED, bytearray(config)
        self.queue_count = queues
        self.writable = writable
        self.reset()

    def reset(self) -> None:
        """Nothing is chosen, nothing is set up."""
        self.status = self.chosen = 0
        self.queues: dict[int, DeviceRing] = {}

    def serve(self, index: int, out: bytes, room: int) -> bytes | None:
        """What is written into a chain of which ``out`` could be read; None: it is kept."""
        raise NotImplementedError


class Disk(Model):
    """A disk of ``content``."""

    def __init__(self, content: bytearray) -> None:
        config = struct.pack("<QII", len(content) // SECTOR, 0, QUEUE_MOST - 2).ljust(60, b"\0")
        super().__init__(2, 1 << 2 | 1 << 9, config, 1)
        self.content = content

    def serve(self, index: int, out: bytes, room: int) -> bytes | None:
        """IN, OUT, FLUSH (virtio 1.3, 5.2.6)."""
        kind, _, sector = _BLOCK.unpack_from(out)
        at, data = sector * SECTOR, out[_BLOCK.size :]
        if kind == 0 and at + room - 1 <= len(self.content):
            return bytes(self.content[at : at + room - 1]) + b"\0"
        if kind == 1 and at + len(data) <= len(self.content):
            self.content[at : at + len(data)] = data
            return b"\0"
        return b"\0" if kind == 4 else bytes(room - 1) + (b"\1" if kind < 2 else b"\2")


class Console(Model):
    """A console, which has printed `output`."""

    def __init__(self) -> None:
        super().__init__(3, 1 | 1 << 2, struct.pack("<HHII", 80, 25, 1, 0), 2, range(8, 12))
        self.output = b""

    def serve(self, index: int, out: bytes, room: int) -> bytes | None:
        """Print what is transmitted; nobody types."""
        if index == 0:
            return None
        self.output += out
        return b""


class Area:
    """Memory of the driver side."""

    def __init__(self, handle: int, ranges: tuple[tuple[int, int], ...]) -> None:
        self.handle, self.ranges = handle, ranges

    def ipa(self, offset: int, size: int) -> int | None:
        """Where so many bytes are; None if they are not in one piece of it."""
        for ipa, pages in self.ranges:
            if offset + size <= pages * 4096:
                return ipa + offset
            offset -= pages * 4096
            if offset < 0:
                return None
        return None


class Peer:
    """What is known of one driver side."""

    def __init__(self, number: int) -> None:
        self.id = number
        self.agreed = self.configured = False
        self.areas: dict[int, Area] = {}
        self.last = 0
        """The token of the last request."""


class LinuxDeviceSide(Partition):
    """The device side; `form` is its wire form. One driver side at a time has its devices."""

    uuid = carrier.DEVICE_UUID
    manifest: ClassVar[dict[str, object]] = {"notification_support": True}

    def __init__(
        self, name: str = "linux-devices", *, form: str = "v2", models: list[Model] | None = None
    ) -> None:
        super().__init__(name)
        self.form = wire.FORMS[form]
        self.models = models if models is not None else [Disk(bytearray(64 << 10)), Console()]
        self.violations: list[str] = []
        self.peers: dict[int, Peer] = {}
        self.served = 0
        """Requests so far."""
        self._full = False
        """A VM has a message in RX."""
        self._events: list[tuple[int, bytes]] = []

    def wrong(self, what: str, clause: str) -> None:
        """The driver side has broken a clause."""
        self.violations.append(f"{what} ({clause})")

    async def main(self, ffa: Ffa) -> None:
        """Serve messages: an SP when it is run, a VM when it is interrupted."""
        if ffa.vcpu.secure:
            await super().main(ffa)
        await self.on_boot(ffa)
        await self.enable_notifications(ffa)
        while True:
            if self._full:
                self._full = False
                message = await ffa.receive()
                await self._take(message.sender, message.payload, ffa)
            await self._send_events(ffa)
            if not self._full:
                await (ffa.yield_() if self._events else ffa.idle())

    async def on_notifications(
        self, from_sps: int, from_vms: int, framework: int, ffa: Ffa
    ) -> None:
        """A message is in RX."""
        self._full |= bool(framework & carrier.RX_FULL)

    async def on_boot(self, ffa: Ffa) -> None:
        """Indirect messages need buffers."""
        await ffa.map_buffers()

    async def on_run(self, ffa: Ffa) -> None:
        """The scheduler gave cycles because a message waits."""
        for sender, data in await carrier.receive(ffa):
            await self._take(sender, data, ffa)
        await self._send_events(ffa)

    async def _take(self, sender: int, data: bytes, ffa: Ffa) -> None:
        await self._serve(self.peers.setdefault(sender, Peer(sender)), data, ffa)

    async def _send_events(self, ffa: Ffa) -> None:
        left: list[tuple[int, bytes]] = []
        for to, event in self._events:
            if not await self._send(to, event, ffa):
                left.append((to, event))
        self._events = left

    async def _send(self, to: int, data: bytes, ffa: Ffa) -> bool:
        try:
            await ffa.send2(to, data, uuid=carrier.DRIVER_UUID)
        except FfaError as error:
            if error.status is not Status.BUSY:
                raise
            return False
        return True

    async def _serve(self, peer: Peer, data: bytes, ffa: Ffa) -> None:
        try:
            got = wire.parse(data, "a message")
        except LinuxError as error:
            self.violations.append(str(error))
            return
        if got.type & wire.RESPONSE:
            self.wrong(f"a response {got.id:#x} to nothing that was asked", "pr28, Responses")
            return
        answer = await self._answer(peer, got, ffa)
        if got.id & wire.EVENT and got.id < 0x80:
            return
        if answer is None:
            answer = wire.respond(wire.ERROR, got.device, got.token, got.id)
        self.served += 1
        self._events.insert(0, (peer.id, answer))

    async def _answer(self, peer: Peer, got: Got, ffa: Ffa) -> bytes | None:
        """The response; None for ERROR, and for an event."""
        bus = bool(got.type & wire.BUS)
        serve = (_BUS if bus else _TRANSPORT).get(got.id)
        if serve is None:
            return None
        if not got.id & wire.EVENT and not got.token:
            self.wrong(f"{serve[0].name} with token 0", "rfc3, Message Token")
        if bus and got.device:
            self.wrong(f"{serve[0].name} names device {got.device}", "pr28, Bus Messages")
        if not peer.agreed and got.id not in (wire.VERSION.id, wire.RESET.id):
            self.wrong(f"{serve[0].name} before a version was agreed on", "DEN0153, VERSION")
            return None
        kind = self._kind(serve[0])
        extra = len(got.payload) - kind.request.size
        if extra < 0 or (extra and kind.id not in _LONGER):
            self.wrong(f"{kind.name} of {8 + len(got.payload)} bytes", kind.clause)
            return None
        fields = kind.request.unpack_from(got.payload)
        more = got.payload[kind.request.size :]
        if bus:
            return await serve[1](self, peer, got, fields, ffa)  # type: ignore[no-any-return]
        if got.device >= len(self.models):
            self.wrong(f"{kind.name} of device {got.device}", "pr28, Device Numbers")
            return None
        return serve[1](self, self.models[got.device], got, fields, more, peer, ffa)  # type: ignore[no-any-return]

    def _kind(self, kind: Kind) -> Kind:
        own = {"GET_DEVICES": self.form.get_devices, "GET_DEVICE_INFO": self.form.info}
        return own.get(kind.name, kind)

    # The bus.

    async def _version(self, peer: Peer, got: Got, fields: tuple[int, ...], ffa: Ffa) -> bytes:
        version, revision, _ = fields
        if version and (version, revision) != (0x1_0000, 1):
            self.wrong(f"VERSION {version:#x}, {revision} was not offered", "DEN0153, VERSION")
            return wire.respond(wire.VERSION, 0, got.token, *(0,) * 6)
        peer.agreed |= bool(version)
        own = (0x1_0000, 1, ffa.version, 0, BUS_FEATURES, MAX_AREAS)
        return wire.respond(wire.VERSION, 0, got.token, *own)

    async def _share(self, peer: Peer, got: Got, fields: tuple[int, ...], ffa: Ffa) -> bytes:
        number, handle, tag, pages, attributes = fields
        result = wire.FAILED
        if not 1 <= number <= MAX_AREAS or number in peer.areas or not pages:
            self.wrong(f"AREA_SHARE of area {number}, {pages} pages", wire.AREA_SHARE.clause)
        elif attributes & MUST_BE != MUST_BE or attributes & ~MAY_BE or not attributes & 0x30:
            self.wrong(f"attributes {attributes:#x} of an area", wire.AREA_SHARE.clause)
        else:
            try:
                region = await ffa.retrieve(handle, peer.id, tag=tag, attributes=0x2F, flags=1 << 3)
            except FfaError as error:
                if error.status is not Status.BUSY:
                    raise
                result = wire.BUSY
            else:
                peer.areas[number] = Area(handle, region.ranges)
                result = wire.OK
        return wire.respond(wire.AREA_SHARE, 0, got.token, number, result)

    async def _unshare(self, peer: Peer, got: Got, fields: tuple[int, ...], ffa: Ffa) -> bytes:
        (number,) = fields
        area = peer.areas.pop(number, None)
        result = wire.FAILED
        if area is None:
            self.wrong(f"AREA_UNSHARE of area {number}", wire.AREA_UNSHARE.clause)
        else:
            await ffa.relinquish(area.handle)
            result = wire.OK
        return wire.respond(wire.AREA_UNSHARE, 0, got.token, number, result)

    async def _reset(self, peer: Peer, got: Got, _: tuple[int, ...], ffa: Ffa) -> bytes:
        for model in self.models:
            model.reset()
        for area in peer.areas.values():
            await ffa.relinquish(area.handle)
        self._events = [(to, data) for to, data in self._events if to != peer.id]
        self.peers[peer.id] = Peer(peer.id)
        return wire.respond(wire.RESET, 0, got.token, wire.OK)

    async def _configure(
        self, peer: Peer, got: Got, fields: tuple[int, ...], _: Ffa
    ) -> bytes | None:
        if peer.configured:
            self.wrong("EVENT_CONFIGURE for the second time", wire.EVENT_CONFIGURE.clause)
            return None
        if fields[1]:
            self.wrong("a reserved byte is not zero", wire.EVENT_CONFIGURE.clause)
        peer.configured = True
        result = wire.OK if fields[0] == wire.BY_MESSAGE else wire.FAILED
        return wire.respond(wire.EVENT_CONFIGURE, 0, got.token, result)

    async def _poll(self, peer: Peer, got: Got, _: tuple[int, ...], __: Ffa) -> bytes:
        for index, (to, data) in enumerate(self._events):
            if to == peer.id and not data[0] & wire.RESPONSE:
                del self._events[index]
                return data
        return wire.respond(wire.EVENT_POLL, 0, got.token)

    async def _devices(self, _: Peer, got: Got, fields: tuple[int, ...], __: Ffa) -> bytes | None:
        offset, count = fields
        if offset % 8 or count % 8 or not count:
            self.wrong(f"GET_DEVICES of {count} from {offset}", "pr28, GET_DEVICES")
            return None
        there = sum(
            1 << n - offset for n in range(len(self.models)) if offset <= n < offset + count
        )
        order = (offset, count, 0) if self.form.count_first else (offset, 0, count)
        bitmap = there.to_bytes(count // 8, "little")
        return wire.respond(self.form.get_devices, 0, got.token, *order, more=bitmap)

    # A device: each gets the model, the message, its fields, and what follows them.

    def _info(self, model: Model, got: Got, *_: Any) -> bytes:
        form = self.form
        features = 64 // form.feature_unit
        rest = (features, len(model.config), model.queue_count, 0, 0)
        first = (model.id, 0x4C4E) if form is wire.PR28 else (model.id, 0x4C4E, bytes(16))
        return wire.respond(form.info, got.device, got.token, *first, *rest)

    def _features(self, model: Model, got: Got, fields: tuple[int, ...], *_: Any) -> bytes:
        block, count = fields
        bits = (model.features >> 32 * min(block, 8)).to_bytes(64, "little")[: 4 * min(count, 16)]
        more = bits.ljust(4 * count, b"\0")
        return wire.respond(wire.GET_FEATURES, got.device, got.token, block, count, more=more)

    def _choose(
        self, model: Model, got: Got, fields: tuple[int, ...], more: bytes, *_: Any
    ) -> bytes | None:
        block, count = fields
        if len(more) != 4 * count:
            self.wrong(f"{count} blocks in {len(more)} bytes", wire.SET_FEATURES.clause)
            return None
        if model.status & device.FEATURES_OK or not model.status & device.DRIVER:
            self.wrong(f"features at status {model.status:#x}", "virtio 1.3, 3.1.1")
        mask = (1 << 32 * count) - 1 << 32 * block
        bits = int.from_bytes(more, "little") << 32 * block
        model.chosen = model.chosen & ~mask | bits
        if model.chosen & ~model.features:
            self.wrong(f"features {model.chosen:#x} that are not offered", "virtio 1.3, 2.2.1")
        return wire.respond(wire.SET_FEATURES, got.device, got.token)

    def _config(self, model: Model, got: Got, fields: tuple[int, ...], *_: Any) -> bytes:
        offset, length = fields
        if offset + length > len(model.config):
            self.wrong(f"{length} bytes of configuration at {offset}", wire.GET_CONFIG.clause)
            length = 0
        data = bytes(model.config[offset : offset + length])
        return wire.respond(wire.GET_CONFIG, got.device, got.token, 1, offset, length, more=data)

    def _write(
        self, model: Model, got: Got, fields: tuple[int, ...], more: bytes, *_: Any
    ) -> bytes:
        generation, offset, length = fields
        expected = 1 if self.form.strict else 0
        if generation != expected or len(more) != length:
            self.wrong(f"SET_CONFIG with generation {generation}", wire.SET_CONFIG.clause)
            length = 0
        elif offset not in model.writable or offset + length > model.writable.stop:
            self.wrong(f"{length} bytes at {offset} are read-only", wire.SET_CONFIG.clause)
            length = 0
        model.config[offset : offset + length] = more[:length]
        return wire.respond(wire.SET_CONFIG, got.device, got.token, 1, offset, length)

    def _status(self, model: Model, got: Got, *_: Any) -> bytes:
        return wire.respond(wire.GET_STATUS, got.device, got.token, model.status)

    def _set_status(
        self, model: Model, got: Got, fields: tuple[int, ...], _: bytes, peer: Peer, ffa: Ffa
    ) -> bytes:
        (status,) = fields
        if status == 0:
            model.reset()
        elif model.status & ~status & 0x7F:
            self.wrong(f"status {status:#x} after {model.status:#x}", "virtio 1.3, 2.1.1")
        elif status & device.DRIVER_OK and not status & device.FEATURES_OK:
            self.wrong("DRIVER_OK without FEATURES_OK", "virtio 1.3, 3.1.1")
        else:
            needed = device.VERSION_1 | device.ACCESS_PLATFORM
            if status & device.FEATURES_OK and model.chosen & needed != needed:
                self.wrong(f"features {model.chosen:#x}", "DEN0153, feature bits")
                status &= ~device.FEATURES_OK
            model.status = status
            for index in model.queues:
                self._work(got.device, index, peer, ffa)
        return wire.respond(wire.SET_STATUS, got.device, got.token, model.status)

    def _get_queue(self, model: Model, got: Got, fields: tuple[int, ...], *_: Any) -> bytes:
        (index,) = fields
        most = QUEUE_MOST if index < model.queue_count else 0
        ring = model.queues.get(index)
        values = (0, 0, 0, 0, 0) if ring is None else (ring.size, self.form.enabled, *ring.at)
        return wire.respond(wire.GET_VQUEUE, got.device, got.token, index, most, *values)

    def _set_queue(
        self, model: Model, got: Got, fields: tuple[int, ...], _: bytes, peer: Peer, ffa: Ffa
    ) -> bytes | None:
        index, flags, size, reserved, *at = fields
        wrong = ""
        if index >= model.queue_count or not 0 < size <= QUEUE_MOST or size & size - 1:
            wrong = f"virtqueue {index} of {size} descriptors"
        elif index in model.queues:
            wrong = f"virtqueue {index} is set up"
        elif flags != self.form.enabled or reserved:
            wrong = f"flags {flags:#x}, reserved {reserved:#x}"
        elif not model.status & device.FEATURES_OK or model.status & device.DRIVER_OK:
            wrong = f"status {model.status:#x}"
        elif any(address % align for address, align in zip(at, (16, 2, 4), strict=True)):
            wrong = "a part is not aligned"
        elif any(self._place(peer, address, 4) is None for address in at):
            wrong = "a part is in no area"
        if wrong:
            self.wrong(f"SET_VQUEUE: {wrong}", wire.SET_VQUEUE.clause)
            return None

        def read(address: int, count: int) -> bytes:
            return ffa.memory.read(self._reach(peer, address, count), count)

        def write(address: int, data: bytes) -> None:
            ffa.memory.write(self._reach(peer, address, len(data)), data)

        model.queues[index] = DeviceRing(read, write, size, Parts(*at))
        return wire.respond(wire.SET_VQUEUE, got.device, got.token)

    def _reset_queue(self, *_: Any) -> None:
        self.wrong("RESET_VQUEUE without RING_RESET", wire.RESET_VQUEUE.clause)

    def _avail(
        self, model: Model, got: Got, fields: tuple[int, ...], _: bytes, peer: Peer, ffa: Ffa
    ) -> None:
        index, following = fields
        if following:
            self.wrong(f"next {following:#x} without NOTIFICATION_DATA", wire.EVENT_AVAIL.clause)
        if index not in model.queues or not model.status & device.DRIVER_OK:
            self.wrong(f"virtqueue {index} is not set up", wire.EVENT_AVAIL.clause)
            return
        self._work(got.device, index, peer, ffa)

    # Virtqueues.

    def _place(self, peer: Peer, address: int, size: int) -> int | None:
        area = peer.areas.get(address >> wire.AREA_SHIFT)
        return None if area is None else area.ipa(address & (1 << wire.AREA_SHIFT) - 1, size)

    def _reach(self, peer: Peer, address: int, size: int) -> int:
        ipa = self._place(peer, address, size)
        if ipa is None:
            raise LinuxError(wire.EINVAL, f"{size} bytes at {address:#x} are in no area")
        return ipa

    def _work(self, number: int, index: int, peer: Peer, ffa: Ffa) -> None:
        """Serve what is available, and say so."""
        model = self.models[number]
        ring, some = model.queues[index], False
        if not model.status & device.DRIVER_OK:
            return
        try:
            while (taken := ring.take()) is not None:
                head, pieces = taken
                out = b"".join(self._pieces(peer, pieces, ffa))
                room = sum(size for _, size, write in pieces if write)
                answer = model.serve(index, out, room)
                if answer is None:
                    continue
                self._scatter(peer, pieces, answer, ffa)
                ring.give(head, len(answer))
                some = True
        except LinuxError as error:
            self.violations.append(str(error))
            model.status |= device.NEEDS_RESET
        if some:
            self._events.append((peer.id, wire.build(wire.EVENT_USED, number, 0, index)))

    def _pieces(self, peer: Peer, pieces: list[tuple[int, int, bool]], ffa: Ffa) -> list[bytes]:
        return [
            ffa.memory.read(self._reach(peer, address, size), size)
            for address, size, write in pieces
            if not write
        ]

    def _scatter(
        self, peer: Peer, pieces: list[tuple[int, int, bool]], answer: bytes, ffa: Ffa
    ) -> None:
        for address, size, write in pieces:
            if write and answer:
                part, answer = answer[:size], answer[size:]
                ffa.memory.write(self._reach(peer, address, len(part)), part)


_LONGER = frozenset({wire.SET_FEATURES.id, wire.SET_CONFIG.id})
_BUS: Final[dict[int, tuple[Kind, Callable[..., Any]]]] = {
    wire.VERSION.id: (wire.VERSION, LinuxDeviceSide._version),
    wire.AREA_SHARE.id: (wire.AREA_SHARE, LinuxDeviceSide._share),
    wire.AREA_UNSHARE.id: (wire.AREA_UNSHARE, LinuxDeviceSide._unshare),
    wire.RESET.id: (wire.RESET, LinuxDeviceSide._reset),
    wire.EVENT_CONFIGURE.id: (wire.EVENT_CONFIGURE, LinuxDeviceSide._configure),
    wire.EVENT_POLL.id: (wire.EVENT_POLL, LinuxDeviceSide._poll),
    wire.INFO_ID: (wire.V2.get_devices, LinuxDeviceSide._devices),
}
_TRANSPORT: Final[dict[int, tuple[Kind, Callable[..., Any]]]] = {
    wire.INFO_ID: (wire.V2.info, LinuxDeviceSide._info),
    wire.GET_FEATURES.id: (wire.GET_FEATURES, LinuxDeviceSide._features),
    wire.SET_FEATURES.id: (wire.SET_FEATURES, LinuxDeviceSide._choose),
    wire.GET_CONFIG.id: (wire.GET_CONFIG, LinuxDeviceSide._config),
    wire.SET_CONFIG.id: (wire.SET_CONFIG, LinuxDeviceSide._write),
    wire.GET_STATUS.id: (wire.GET_STATUS, LinuxDeviceSide._status),
    wire.SET_STATUS.id: (wire.SET_STATUS, LinuxDeviceSide._set_status),
    wire.GET_VQUEUE.id: (wire.GET_VQUEUE, LinuxDeviceSide._get_queue),
    wire.SET_VQUEUE.id: (wire.SET_VQUEUE, LinuxDeviceSide._set_queue),
    wire.RESET_VQUEUE.id: (wire.RESET_VQUEUE, LinuxDeviceSide._reset_queue),
    wire.EVENT_AVAIL.id: (wire.EVENT_AVAIL, LinuxDeviceSide._avail),
}
