"""The way to a device side of an early generation: messages of pr28 become its own, and back."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import early as abi
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg import transport as t
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.generations import PR28, Generation
from ffabric.abi.virtio_msg.header import BUS, RESPONSE
from ffabric.abi.virtio_msg.message import Message, build, parse
from ffabric.abi.words import MASK32, pack_ids
from ffabric.guests.errors import error_of, status_of
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio_msg.driver.attention import Attention, Wait
from ffabric.guests.virtio_msg.driver.bus import BusError, Pauses
from ffabric.guests.virtio_msg.driver.ffa_link import IndirectLink

_BUSY: Final = "the device side is busy"
_CONFIG_SIZE: Final = 1 << 24
"""Early devices do not say how large their configuration is: what they may have is bound."""
_QUEUES: Final = 1 << 16
_NAMES: Final = ("desc_area", "driver_area", "device_area")
_REGISTERS: Final = 5
"""x3 to x7: 40 bytes."""


_NUDGE: Final = abi.build(RESPONSE, 0, 0)


class Carrier(Protocol):
    """How messages of 40 bytes go. `feature` is what the bus calls it."""

    feature: int
    heard: deque[bytes]

    async def listen(self) -> None:
        """Take what has come already."""

    async def send(self, message: bytes, /) -> bytes:
        """A round trip: the response. Raises BusError if there is none."""

    async def event(self, message: bytes, /) -> None:
        """Send an event."""

    async def fetch(self) -> bytes | None:
        """An event of the device side, if one has come."""

    async def rest(self, wait: Pauses, /) -> None:
        """Until there may be one."""


class EarlyDirect:
    """By FFA_MSG_SEND_DIRECT_REQ, of which a message fills x3 to x7.

    Used buffers are seen in the rings: nothing is fetched.
    """

    feature = abi.DIRECT

    def __init__(self, ffa_: Ffa, peer: int, attention: Attention) -> None:
        self.heard: deque[bytes] = deque()
        self._ffa = ffa_
        self._attention = attention
        self._head = (fid.FFA_MSG_SEND_DIRECT_REQ_64, pack_ids(ffa_.endpoint, peer), 0)

    async def send(self, message: bytes) -> bytes:
        """One round trip; a device side that is busy is asked again."""
        wait = Wait(self._attention, _BUSY, announced=False)
        while not any(answer := await self._exchange(message)):
            await wait.pause()
        return answer

    async def event(self, message: bytes) -> None:
        """One round trip, whose answer may be zeros: an event has none."""
        await self._exchange(message)

    async def listen(self) -> None:
        """Nothing comes unasked."""

    async def fetch(self) -> bytes | None:
        """There is no way to ask for it."""
        return None

    async def rest(self, wait: Pauses) -> None:
        """Nobody says that there is something."""
        await wait.pause()

    async def _exchange(self, message: bytes) -> bytes:
        words = [int.from_bytes(message[at : at + 8], "little") for at in range(0, abi.SIZE, 8)]
        wait: Wait | None = None
        while True:
            x = await self._ffa.call(*self._head, *words)
            while x[0] & MASK32 in (fid.FFA_YIELD, fid.FFA_INTERRUPT):
                wait = wait or Wait(self._attention, _BUSY, announced=False)
                await wait.pause()
                x = await self._ffa.call(fid.FFA_RUN, x[1])
            if x[0] & MASK32 != fid.FFA_ERROR:
                return b"".join(word.to_bytes(8, "little") for word in x[3 : 3 + _REGISTERS])
            if status_of(x[2]) is not Status.BUSY:
                raise BusError(str(error_of(self._ffa.vcpu, x[2], self._head[0])))
            wait = wait or Wait(self._attention, _BUSY, announced=False)
            await wait.pause()


class EarlyIndirect(IndirectLink):
    """By FFA_MSG_SEND2, both ways: events come unasked.

    The bus has nothing that asks for what the device side has not sent yet. A response to nothing
    gives it cycles, too.
    """

    feature = abi.INDIRECT

    def __init__(self, ffa_: Ffa, peer: int, attention: Attention, generation: Generation) -> None:
        super().__init__(ffa_, peer, attention)
        self._error = abi.NUMBERS[generation.name][abi.ERROR]

    async def send(self, message: bytes) -> bytes:
        """Send it, then wait for the response to this device and message, or for an error."""
        await self.event(message)
        sent = abi.parse(message)
        wait = Wait(self._attention, "no response comes")
        while True:
            data = await self._receive()
            if data is None:
                await wait.pause()
                continue
            found = abi.parse(data)
            if not found.is_response:
                self.heard.append(data)
                await self._send(_NUDGE)
            elif self._answers(found, sent):
                return data

    def _answers(self, found: abi.Early, sent: abi.Early) -> bool:
        if found.is_bus:  # a bus that has headers of 8 bytes says so whatever it is asked
            return found.id == ffa.ERROR.id or (
                sent.is_bus and found.id in (sent.id, abi.BUS_ERROR)
            )
        same = not sent.is_bus and found.device == sent.device
        return same and found.id in (sent.id, self._error)

    async def fetch(self, poll: bytes = _NUDGE) -> bytes | None:
        """One that has come."""
        await self.listen()
        if not self.heard:
            await self._send(poll)
            await self.listen()
        return self.heard.popleft() if self.heard else None

    def _read(self, data: bytes) -> bytes:
        """A message of 40 bytes; a shorter one is one whose header has 6 or 8."""
        return data.ljust(abi.SIZE, b"\0")


class EarlyLink:
    """By a carrier."""

    def __init__(self, carrier: Carrier, generation: Generation) -> None:
        self.heard: deque[bytes] = deque()
        self._carrier = carrier
        self._ids = abi.NUMBERS[generation.name]
        self._name = generation.name
        self._devices = 0

    async def request(self, message: bytes) -> bytes:
        """Ask what is the same in the early generation."""
        asked = parse(message, PR28)
        serve = _SERVICES.get(asked.kind.name)
        if serve is None:
            raise BusError(f"{asked.kind.name} is not in {self._name}")
        fields = await serve(self, asked)
        how: dict[str, Any] = {"device": asked.device, "token": asked.token, "response": True}
        return build(asked.kind, PR28, **how, **fields)

    async def event(self, message: bytes) -> None:
        """EVENT_AVAIL."""
        event = parse(message, PR28)
        if event.kind is t.EVENT_AVAIL:
            payload = event["index"].to_bytes(4, "little")
            number = self._ids[t.EVENT_AVAIL]
            await self._carrier.event(abi.build(0, number, event.device, payload))

    async def fetch(self, poll: bytes) -> bytes | None:
        """EVENT_USED, or EVENT_CONFIG."""
        data = await self._carrier.fetch()
        return None if data is None else self._event(data)

    async def listen(self) -> None:
        """Take what has come already."""
        carrier = self._carrier
        await carrier.listen()
        while carrier.heard:
            self.heard.append(self._event(carrier.heard.popleft()))

    def _event(self, data: bytes) -> bytes:
        """An event of this generation as one of pr28; what is none stays what it is."""
        event = abi.parse(data)
        if not event.is_bus and event.id == self._ids[t.EVENT_USED]:
            index = int.from_bytes(event.payload[:4], "little")
            return build(t.EVENT_USED, PR28, device=event.device, index=index)
        if not event.is_bus and event.id == self._ids[t.EVENT_CONFIG]:
            status = int.from_bytes(event.payload[:4], "little")
            return build(t.EVENT_CONFIG, PR28, device=event.device, status=status)
        return data

    async def rest(self, wait: Pauses) -> None:
        """Until there may be an event."""
        await self._carrier.rest(wait)

    async def _ask(self, type_: int, number: int, device: int, payload: bytes = b"") -> bytes:
        """The payload of the response. Raises BusError if there is none."""
        answer = abi.parse(await self._carrier.send(abi.build(type_, number, device, payload)))
        if not answer.is_response or answer.id != number or answer.is_bus != bool(type_ & BUS):
            errors = (abi.BUS_ERROR,) if type_ & BUS else (self._ids[abi.ERROR],)
            if answer.is_response and answer.id in errors:
                raise BusError(f"message {number:#x} was refused")
            other = "" if answer.id != ffa.ERROR.id else ": its headers have 8 bytes"
            raise BusError(f"the device side does not speak {self._name}{other}")
        return answer.payload

    async def _of(self, kind: MessageType | str, device: int, payload: bytes = b"") -> bytes:
        return await self._ask(0, self._ids[kind], device, payload)

    # The bus.

    async def _reset(self, _: Message) -> dict[str, Any]:
        await self._ask(BUS, abi.ACTIVATE, 0, abi.BUS_VERSION.to_bytes(4, "little"))
        await self._ask(BUS, abi.DEACTIVATE, 0)
        return {"result": ffa.Result.OK}

    async def _version(self, _: Message) -> dict[str, Any]:
        payload = await self._ask(BUS, abi.ACTIVATE, 0, abi.BUS_VERSION.to_bytes(4, "little"))
        version, features, self._devices = abi.ACTIVATED.unpack_from(payload)
        if version != abi.BUS_VERSION or not features & self._carrier.feature:
            raise BusError(f"version {version} of the bus, features {features:#x}")
        if self._devices > bus_abi.MAX_DEVICES:
            raise BusError(f"{self._devices} devices, whose numbers have 16 bits")
        used = features & ~(abi.DIRECT | abi.INDIRECT) | self._carrier.feature
        await self._ask(BUS, abi.CONFIGURE, 0, used.to_bytes(8, "little"))
        return {
            "bus_version": ffa.BUS_VERSION,
            "revision": ffa.TRANSPORT_REVISION,
            "bus_features": ffa.BusFeatures.build(DIRECT_RX=1, DIRECT_TX=1),
            "max_areas": features >> abi.AREAS_SHIFT & 0xFF,
        }

    async def _configure(self, _: Message) -> dict[str, Any]:
        return {"result": ffa.Result.OK}

    async def _share(self, asked: Message) -> dict[str, Any]:
        area = abi.AREA.pack(asked["area"], asked["handle"])
        await self._ask(BUS, abi.AREA_SHARE, 0, area)
        return {"area": asked["area"], "result": ffa.Result.OK}

    async def _unshare(self, asked: Message) -> dict[str, Any]:
        await self._ask(BUS, abi.AREA_UNSHARE, 0, abi.AREA.pack(asked["area"], 0))
        return {"area": asked["area"], "result": ffa.Result.OK}

    async def _get_devices(self, asked: Message) -> dict[str, Any]:
        found = bus_abi.list_devices(
            asked["offset"], asked["count"], set(range(self._devices)), PR28, ffa.MAX_DIRECT
        )
        assert found is not None
        if self._devices:  # another generation has another message with that id
            version = abi.INFO.unpack_from(await self._of(t.GET_DEVICE_INFO, 0))[0]
            if version != abi.INFO_VERSION:
                raise BusError(
                    f"the device side does not speak {self._name}: device 0 has version {version}"
                )
        return found[0]

    # Devices.

    async def _info(self, asked: Message) -> dict[str, Any]:
        _, device, vendor = abi.INFO.unpack_from(await self._of(asked.kind, asked.device))
        return {
            "device_id": device,
            "vendor_id": vendor,
            "num_features": 64,
            "config_size": _CONFIG_SIZE,
            "max_virtqueues": _QUEUES,
        }

    async def _features(self, asked: Message) -> dict[str, Any]:
        index, blocks = asked["index"], abi.BLOCK // 4
        block, first = divmod(index, blocks)
        payload = await self._of(asked.kind, asked.device, block.to_bytes(4, "little"))
        count = min(asked["num"], blocks - first)
        found = payload[4 + 4 * first : 4 + 4 * (first + count)]
        return {"index": index, "num": count, "blocks": found}

    async def _choose(self, asked: Message) -> dict[str, Any]:
        block, first = divmod(asked["index"], abi.BLOCK // 4)
        data = bytes(4 * first) + asked["blocks"]
        wanted = block.to_bytes(4, "little") + data.ljust(abi.BLOCK, b"\0")
        await self._of(asked.kind, asked.device, wanted)
        return {}

    async def _config(self, asked: Message) -> dict[str, Any]:
        """The generation is asked for before, so that what changes meanwhile is seen."""
        device, offset, length = asked.device, asked["offset"], asked["length"]
        count = min(length, abi.BLOCK)
        generation = await self._of(abi.GET_CONFIG_GEN, device)
        data = b""
        while len(data) < length:
            count = min(length - len(data), abi.BLOCK)
            place = abi.pack_place(offset + len(data), count)
            data += (await self._of(asked.kind, device, place))[4 : 4 + count]
        number = int.from_bytes(generation[:4], "little")
        return {"generation": number, "offset": offset, "data": data}

    async def _write(self, asked: Message) -> dict[str, Any]:
        data, offset = asked["data"], asked["offset"]
        if len(data) > abi.BLOCK:
            raise BusError(f"{len(data)} bytes of configuration in a message of {self._name}")
        place = abi.pack_place(offset, len(data))
        payload = await self._of(asked.kind, asked.device, place + data)
        number = (await self._of(abi.GET_CONFIG_GEN, asked.device))[:4]
        done = payload[4 : 4 + len(data)] == data
        generation = int.from_bytes(number, "little")
        if not done:  # that is an answer, and not that somebody else was faster
            generation = asked["generation"]
        return {"generation": generation, "offset": offset, "length": len(data) if done else 0}

    async def _status(self, asked: Message) -> dict[str, Any]:
        if asked.kind is t.SET_DEVICE_STATUS:
            await self._of(asked.kind, asked.device, asked["status"].to_bytes(4, "little"))
        payload = await self._of(t.GET_DEVICE_STATUS, asked.device)
        return {"status": int.from_bytes(payload[:4], "little")}

    async def _look(self, asked: Message) -> dict[str, Any]:
        index = asked["index"].to_bytes(4, "little")
        payload = await self._of(asked.kind, asked.device, index)
        number, most, size, *places = abi.QUEUE.unpack_from(payload)
        found: dict[str, Any] = {"index": number, "max_size": most, "size": size}
        return found | dict(zip(_NAMES, places, strict=True))

    async def _place(self, asked: Message) -> dict[str, Any]:
        places = (asked[name] for name in _NAMES)
        payload = abi.QUEUE.pack(asked["index"], 0, asked["size"], *places)
        await self._of(asked.kind, asked.device, payload)
        return {}

    async def _unplace(self, asked: Message) -> dict[str, Any]:
        await self._of(asked.kind, asked.device, asked["index"].to_bytes(4, "little"))
        return {}


_Service = Callable[[EarlyLink, Message], Awaitable[dict[str, Any]]]
_SERVICES: Final[dict[str, _Service]] = {
    ffa.RESET.name: EarlyLink._reset,
    ffa.VERSION.name: EarlyLink._version,
    ffa.EVENT_CONFIGURE.name: EarlyLink._configure,
    ffa.AREA_SHARE.name: EarlyLink._share,
    ffa.AREA_UNSHARE.name: EarlyLink._unshare,
    bus_abi.GET_DEVICES.name: EarlyLink._get_devices,
    t.GET_DEVICE_INFO.name: EarlyLink._info,
    t.GET_DEVICE_FEATURES.name: EarlyLink._features,
    t.SET_DRIVER_FEATURES.name: EarlyLink._choose,
    t.GET_CONFIG.name: EarlyLink._config,
    t.SET_CONFIG.name: EarlyLink._write,
    t.GET_DEVICE_STATUS.name: EarlyLink._status,
    t.SET_DEVICE_STATUS.name: EarlyLink._status,
    t.GET_VQUEUE.name: EarlyLink._look,
    t.SET_VQUEUE.name: EarlyLink._place,
    t.RESET_VQUEUE.name: EarlyLink._unplace,
}
