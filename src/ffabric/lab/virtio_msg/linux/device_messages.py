"""The messages about a device, as Linux's device side serves and judges them (virtio-msg pr28, v2).

What is wrong is noted with its clause and answered as Linux answers it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from ffabric.guests.ffa import Ffa
from ffabric.lab.virtio_msg.linux import device, wire
from ffabric.lab.virtio_msg.linux.models import QUEUE_MOST, Model
from ffabric.lab.virtio_msg.linux.peer import Peer
from ffabric.lab.virtio_msg.linux.ring import DeviceRing, Parts
from ffabric.lab.virtio_msg.linux.wire import Got, Kind, LinuxError

BLOCKS: Final = 16
"""Blocks of 32 feature bits that a device can have."""
MOST_BLOCKS: Final = (wire.LARGEST - wire.HEADER.size - wire.GET_FEATURES.request.size) // 4
"""Blocks that one message has room for."""


class Asked(NamedTuple):
    """A message about a device: its fields, what follows them, and who has sent it."""

    model: Model
    got: Got
    fields: tuple[int, ...]
    more: bytes
    peer: Peer
    ffa: Ffa


class DeviceMessages:
    """Serves the messages about `models`, which are the devices by number, in a wire form.

    It adds the clauses that driver sides break to `violations`, and what is to be sent to
    `events`, as (endpoint, message).
    """

    def __init__(
        self,
        form: wire.Form,
        models: list[Model],
        violations: list[str],
        events: list[tuple[int, bytes]],
    ) -> None:
        self.form = form
        self.models = models
        self.violations = violations
        self.events = events

    def wrong(self, what: str, clause: str) -> None:
        """The driver side has broken a clause."""
        self.violations.append(f"{what} ({clause})")

    def serve(
        self, kind: Kind, got: Got, fields: tuple[int, ...], peer: Peer, ffa: Ffa
    ) -> bytes | None:
        """The response to a message of a kind; None for ERROR, and for an event."""
        if got.device >= len(self.models):
            self.wrong(f"{kind.name} of device {got.device}", "pr28, Device Numbers")
            return None
        more = got.payload[kind.request.size :]
        asked = Asked(self.models[got.device], got, fields, more, peer, ffa)
        return MESSAGES[got.id][1](self, asked)

    def _info(self, asked: Asked) -> bytes:
        model, got = asked.model, asked.got
        form = self.form
        features = 64 // form.feature_unit
        rest = (features, len(model.config), model.queue_count, 0, 0)
        first = (model.id, 0x4C4E) if form is wire.PR28 else (model.id, 0x4C4E, bytes(16))
        return wire.respond(form.info, got.device, got.token, *first, *rest)

    def _features(self, asked: Asked) -> bytes | None:
        got = asked.got
        block, count = asked.fields
        if count > MOST_BLOCKS:
            self.wrong(f"{count} blocks of features", wire.GET_FEATURES.clause)
            return None
        features = asked.model.features >> 32 * min(block, BLOCKS)
        bits = features.to_bytes(4 * BLOCKS, "little")[: 4 * count].ljust(4 * count, b"\0")
        return wire.respond(wire.GET_FEATURES, got.device, got.token, block, count, more=bits)

    def _choose(self, asked: Asked) -> bytes | None:
        model, got = asked.model, asked.got
        block, count = asked.fields
        if len(asked.more) != 4 * count:
            self.wrong(f"{count} blocks in {len(asked.more)} bytes", wire.SET_FEATURES.clause)
            return None
        if block + count > BLOCKS:
            self.wrong(f"{count} blocks of features from {block} on", wire.SET_FEATURES.clause)
            return None
        if model.status & device.FEATURES_OK or not model.status & device.DRIVER:
            self.wrong(f"features at status {model.status:#x}", "virtio 1.3, 3.1.1")
        mask = (1 << 32 * count) - 1 << 32 * block
        bits = int.from_bytes(asked.more, "little") << 32 * block
        model.chosen = model.chosen & ~mask | bits
        if model.chosen & ~model.features:
            self.wrong(f"features {model.chosen:#x} that are not offered", "virtio 1.3, 2.2.1")
        return wire.respond(wire.SET_FEATURES, got.device, got.token)

    def _config(self, asked: Asked) -> bytes:
        model, got = asked.model, asked.got
        offset, length = asked.fields
        if offset + length > len(model.config):
            self.wrong(f"{length} bytes of configuration at {offset}", wire.GET_CONFIG.clause)
            length = 0
        data = bytes(model.config[offset : offset + length])
        return wire.respond(wire.GET_CONFIG, got.device, got.token, 1, offset, length, more=data)

    def _write(self, asked: Asked) -> bytes:
        model, got = asked.model, asked.got
        generation, offset, length = asked.fields
        expected = 1 if self.form.strict else 0
        if generation != expected or len(asked.more) != length:
            self.wrong(f"SET_CONFIG with generation {generation}", wire.SET_CONFIG.clause)
            length = 0
        elif offset not in model.writable or offset + length > model.writable.stop:
            self.wrong(f"{length} bytes at {offset} are read-only", wire.SET_CONFIG.clause)
            length = 0
        model.config[offset : offset + length] = asked.more[:length]
        return wire.respond(wire.SET_CONFIG, got.device, got.token, 1, offset, length)

    def _status(self, asked: Asked) -> bytes:
        got = asked.got
        return wire.respond(wire.GET_STATUS, got.device, got.token, asked.model.status)

    def _set_status(self, asked: Asked) -> bytes:
        model, got = asked.model, asked.got
        (status,) = asked.fields
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
            if model.chosen & ~model.features:
                status &= ~device.FEATURES_OK  # virtio 1.3, 2.2.2
            model.status = status
            for index in model.queues:
                self._work(got.device, index, asked.peer, asked.ffa)
        return wire.respond(wire.SET_STATUS, got.device, got.token, model.status)

    def _get_queue(self, asked: Asked) -> bytes:
        model, got = asked.model, asked.got
        (index,) = asked.fields
        most = QUEUE_MOST if index < model.queue_count else 0
        ring = model.queues.get(index)
        values = (0, 0, 0, 0, 0) if ring is None else (ring.size, self.form.enabled, *ring.at)
        return wire.respond(wire.GET_VQUEUE, got.device, got.token, index, most, *values)

    def _set_queue(self, asked: Asked) -> bytes | None:
        model, got, peer, ffa = asked.model, asked.got, asked.peer, asked.ffa
        index, flags, size, reserved, *at = asked.fields
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
        elif any(peer.place(address, 4) is None for address in at):
            wrong = "a part is in no area"
        if wrong:
            self.wrong(f"SET_VQUEUE: {wrong}", wire.SET_VQUEUE.clause)
            return None

        def read(address: int, count: int) -> bytes:
            return ffa.memory.read(peer.reach(address, count), count)

        def write(address: int, data: bytes) -> None:
            ffa.memory.write(peer.reach(address, len(data)), data)

        model.queues[index] = DeviceRing(read, write, size, Parts(*at))
        return wire.respond(wire.SET_VQUEUE, got.device, got.token)

    def _reset_queue(self, _: Asked) -> None:
        self.wrong("RESET_VQUEUE without RING_RESET", wire.RESET_VQUEUE.clause)

    def _avail(self, asked: Asked) -> None:
        model = asked.model
        index, following = asked.fields
        if following:
            self.wrong(f"next {following:#x} without NOTIFICATION_DATA", wire.EVENT_AVAIL.clause)
        if index not in model.queues or not model.status & device.DRIVER_OK:
            self.wrong(f"virtqueue {index} is not set up", wire.EVENT_AVAIL.clause)
            return
        self._work(asked.got.device, index, asked.peer, asked.ffa)

    def _work(self, number: int, index: int, peer: Peer, ffa: Ffa) -> None:
        """Serve what is available, and say so."""
        model = self.models[number]
        ring, some = model.queues[index], False
        if not model.status & device.DRIVER_OK:
            return
        try:
            while (taken := ring.take()) is not None:
                head, pieces = taken
                out = b"".join(_gather(peer, pieces, ffa))
                room = sum(size for _, size, write in pieces if write)
                answer = model.serve(index, out, room)
                if answer is None:
                    continue
                _scatter(peer, pieces, answer, ffa)
                ring.give(head, len(answer))
                some = True
        except LinuxError as error:
            self.violations.append(str(error))
            model.status |= device.NEEDS_RESET
        if some:
            self.events.append((peer.id, wire.build(wire.EVENT_USED, number, 0, index)))


def _gather(peer: Peer, pieces: list[tuple[int, int, bool]], ffa: Ffa) -> list[bytes]:
    return [
        ffa.memory.read(peer.reach(address, size), size)
        for address, size, write in pieces
        if not write
    ]


def _scatter(peer: Peer, pieces: list[tuple[int, int, bool]], answer: bytes, ffa: Ffa) -> None:
    for address, size, write in pieces:
        if write and answer:
            part, answer = answer[:size], answer[size:]
            ffa.memory.write(peer.reach(address, len(part)), part)


MESSAGES: Final[dict[int, tuple[Kind, Callable[[DeviceMessages, Asked], bytes | None]]]] = {
    wire.INFO_ID: (wire.V2.info, DeviceMessages._info),
    wire.GET_FEATURES.id: (wire.GET_FEATURES, DeviceMessages._features),
    wire.SET_FEATURES.id: (wire.SET_FEATURES, DeviceMessages._choose),
    wire.GET_CONFIG.id: (wire.GET_CONFIG, DeviceMessages._config),
    wire.SET_CONFIG.id: (wire.SET_CONFIG, DeviceMessages._write),
    wire.GET_STATUS.id: (wire.GET_STATUS, DeviceMessages._status),
    wire.SET_STATUS.id: (wire.SET_STATUS, DeviceMessages._set_status),
    wire.GET_VQUEUE.id: (wire.GET_VQUEUE, DeviceMessages._get_queue),
    wire.SET_VQUEUE.id: (wire.SET_VQUEUE, DeviceMessages._set_queue),
    wire.RESET_VQUEUE.id: (wire.RESET_VQUEUE, DeviceMessages._reset_queue),
    wire.EVENT_AVAIL.id: (wire.EVENT_AVAIL, DeviceMessages._avail),
}
"""By number: the kind of message, and what serves it."""
