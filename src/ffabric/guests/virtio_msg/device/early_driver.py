"""A driver side of an early generation: its messages become those of pr28, and answers its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio_msg import early as abi
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg import transport as t
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.generations import PR28, RFC1
from ffabric.abi.virtio_msg.header import EVENT
from ffabric.abi.virtio_msg.message import Message, build, parse
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio_msg.device.ffa_bus import Connection
from ffabric.guests.virtio_msg.device.retrieved_areas import ANY, MAX_AREAS

_INVALID: Final = 1
"""EINVAL of rfc1's errors."""


class _Failed(Exception):  # noqa: N818 - what happened
    """The request was refused."""


class _Busy(Exception):  # noqa: N818 - what happened
    """There is no answer yet."""


class EarlyDriver:
    """Serves the driver side of a connection.

    Whose CONFIGURE has the feature of indirect messages gets EVENT_USED and EVENT_CONFIG by them.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._generation = connection.generation

    async def handle(self, data: bytes, ffa_: Ffa) -> bytes | None:
        """Serve a message: its response, b"" if it has none. None: busy, it is to come again."""
        message = abi.parse(data)
        if message.is_response:
            return b""
        try:
            if message.is_bus:
                return await self._bus(message, ffa_)
            return await self._transport(message, ffa_)
        except _Busy:
            return None
        except (_Failed, ValueError, OverflowError):
            return self._error(message)

    def taken(self, data: bytes) -> bytes:
        """What an event that is an indirect message is answered with, as Linux waits for it."""
        return abi.parse(data).answer()

    def event(self, data: bytes) -> bytes | None:
        """An event of pr28 as it is sent; None for one that this generation has not got."""
        event = parse(data, PR28)
        number = abi.NUMBERS[self._generation.name].get(event.kind)
        if number is None:
            return None
        first = event["index"] if event.kind is t.EVENT_USED else event["status"]
        return abi.build(0, number, event.device, first.to_bytes(4, "little"))

    def _error(self, message: abi.Early) -> bytes:
        if message.is_bus:
            return abi.build(message.type | 1, abi.BUS_ERROR, 0)
        kind = abi.kind_of(message, self._generation)
        if isinstance(kind, MessageType) and kind.id & EVENT:
            return b""
        number = abi.NUMBERS[self._generation.name][abi.ERROR]
        failed = bytes((message.id,)) if self._generation is RFC1 else b""
        payload = _INVALID.to_bytes(4, "little") + failed
        return abi.build(message.type | 1, number, message.device, payload)

    async def _ask(self, ffa_: Ffa, kind: MessageType, device: int = 0, **fields: Any) -> Message:
        """What the connection answers to a message of pr28."""
        data = build(kind, PR28, device=device, token=1, **fields)
        response = await self._connection.handle(data, ffa_)
        if response is None:
            raise _Busy
        try:
            answer = parse(response, PR28)
        except DecodeError:
            raise _Failed from None
        if answer.kind is not kind:
            raise _Failed
        return answer

    # The bus.

    async def _bus(self, message: abi.Early, ffa_: Ffa) -> bytes:
        if message.id == abi.ACTIVATE:
            return await self._activate(message, ffa_)
        if message.id == abi.DEACTIVATE:
            await self._reset(ffa_)
            return message.answer()
        if message.id == abi.CONFIGURE:
            if message.payload[0] & abi.INDIRECT:
                self._connection.method = ffa.Method.INDIRECT
            return message.answer(message.payload[:8])
        if message.id not in (abi.AREA_SHARE, abi.AREA_UNSHARE):
            raise _Failed
        number, handle = abi.AREA.unpack_from(message.payload)
        if message.id == abi.AREA_SHARE:
            how = {"pages": ANY, "attributes": ffa.NORMAL_SHARED}
            answer = await self._ask(ffa_, ffa.AREA_SHARE, area=number, handle=handle, **how)
        else:
            answer = await self._ask(ffa_, ffa.AREA_UNSHARE, area=number)
        if answer["result"] == ffa.Result.BUSY:
            raise _Busy
        if answer["result"] != ffa.Result.OK:
            raise _Failed
        return message.answer(number.to_bytes(4, "little"))

    async def _reset(self, ffa_: Ffa) -> None:
        answer = await self._ask(ffa_, ffa.RESET)
        if answer["result"] == ffa.Result.BUSY:
            raise _Busy

    async def _activate(self, message: abi.Early, ffa_: Ffa) -> bytes:
        """A bus that is activated anew begins anew."""
        if int.from_bytes(message.payload[:4], "little") != abi.BUS_VERSION:
            raise _Failed
        if self._connection.agreed or self._connection.unfinished:
            await self._reset(ffa_)
        versions = {"bus_version": ffa.BUS_VERSION, "revision": ffa.TRANSPORT_REVISION}
        await self._ask(ffa_, ffa.VERSION, **versions)
        features = abi.DIRECT | abi.INDIRECT | MAX_AREAS << abi.AREAS_SHIFT
        count = max(self._connection.ends, default=-1) + 1
        return message.answer(abi.ACTIVATED.pack(abi.BUS_VERSION, features, count))

    # Devices.

    async def _transport(self, message: abi.Early, ffa_: Ffa) -> bytes:
        kind = abi.kind_of(message, self._generation)
        serve = _SERVICES.get(kind if isinstance(kind, str) else kind.name) if kind else None
        if serve is None:
            raise _Failed
        return await serve(self, message, ffa_)

    async def _connect(self, message: abi.Early, ffa_: Ffa) -> bytes:
        await self._ask(ffa_, t.GET_DEVICE_INFO, message.device)
        return message.answer()

    async def _disconnect(self, message: abi.Early, ffa_: Ffa) -> bytes:
        await self._ask(ffa_, t.SET_DEVICE_STATUS, message.device, status=0)
        return message.answer()

    async def _get_config_gen(self, message: abi.Early, ffa_: Ffa) -> bytes:
        answer = await self._ask(ffa_, t.GET_CONFIG, message.device, offset=0, length=0)
        return message.answer(answer["generation"].to_bytes(4, "little"))

    async def _get_info(self, message: abi.Early, ffa_: Ffa) -> bytes:
        info = await self._ask(ffa_, t.GET_DEVICE_INFO, message.device)
        told = (abi.INFO_VERSION, info["device_id"], info["vendor_id"])
        return message.answer(abi.INFO.pack(*told))

    async def _get_features(self, message: abi.Early, ffa_: Ffa) -> bytes:
        index = _word(message)
        if index and self._generation is RFC1:
            raise _Failed  # there are none from here on
        found = await self._features(ffa_, message.device, index)
        return message.answer(message.payload[:4] + found)

    async def _set_features(self, message: abi.Early, ffa_: Ffa) -> bytes:
        """Those that are offered are accepted, and told."""
        index, number = _word(message), message.device
        offered = await self._features(ffa_, number, index)
        wanted = message.payload[4 : 4 + abi.BLOCK]
        chosen = bytes(one & other for one, other in zip(offered, wanted, strict=True))
        first = abi.BLOCK // 4 * index
        await self._ask(ffa_, t.SET_DRIVER_FEATURES, number, index=first, blocks=chosen)
        return message.answer(message.payload[:4] + chosen)

    async def _get_status(self, message: abi.Early, ffa_: Ffa) -> bytes:
        answer = await self._ask(ffa_, t.GET_DEVICE_STATUS, message.device)
        return message.answer(answer["status"].to_bytes(4, "little"))

    async def _set_status(self, message: abi.Early, ffa_: Ffa) -> bytes:
        await self._ask(ffa_, t.SET_DEVICE_STATUS, message.device, status=_word(message))
        return message.answer()

    async def _avail(self, message: abi.Early, ffa_: Ffa) -> bytes:
        data = build(t.EVENT_AVAIL, PR28, device=message.device, index=_word(message))
        await self._connection.handle(data, ffa_)
        return b""

    async def _get_config(self, message: abi.Early, ffa_: Ffa) -> bytes:
        offset, count = _place(message)
        answer = await self._ask(ffa_, t.GET_CONFIG, message.device, offset=offset, length=count)
        if answer["length"] != count:
            raise _Failed
        return message.answer(message.payload[:4] + answer["data"])

    async def _set_config(self, message: abi.Early, ffa_: Ffa) -> bytes:
        """What was taken is told; else what is there."""
        (offset, count), number = _place(message), message.device
        before = await self._ask(ffa_, t.GET_CONFIG, number, offset=offset, length=0)
        how = {"generation": before["generation"], "offset": offset}
        data = message.payload[4 : 4 + count]
        answer = await self._ask(ffa_, t.SET_CONFIG, number, data=data, **how)
        if answer["length"] == count:
            return message.answer(message.payload[: 4 + count])
        return await self._get_config(message, ffa_)

    async def _get_queue(self, message: abi.Early, ffa_: Ffa) -> bytes:
        answer = await self._ask(ffa_, t.GET_VQUEUE, message.device, index=_word(message))
        places = (answer[name] for name in _NAMES)
        told = (answer["index"], answer["max_size"], answer["size"], *places)
        return message.answer(abi.QUEUE.pack(*told))

    async def _set_queue(self, message: abi.Early, ffa_: Ffa) -> bytes:
        """A size of 0 takes the virtqueue away."""
        index, _, size, *places = abi.QUEUE.unpack_from(message.payload)
        if not size:
            await self._reset_queue(message, ffa_)
        else:
            fields = {"index": index, "size": size} | dict(zip(_NAMES, places, strict=True))
            await self._ask(ffa_, t.SET_VQUEUE, message.device, **fields)
        return message.answer(message.payload)

    async def _reset_queue(self, message: abi.Early, ffa_: Ffa) -> bytes:
        await self._ask(ffa_, t.RESET_VQUEUE, message.device, index=_word(message))
        return message.answer()

    async def _features(self, ffa_: Ffa, number: int, index: int) -> bytes:
        blocks = abi.BLOCK // 4
        answer = await self._ask(
            ffa_, t.GET_DEVICE_FEATURES, number, index=blocks * index, num=blocks
        )
        found: bytes = answer["blocks"]
        return found


def _word(message: abi.Early) -> int:
    return int.from_bytes(message.payload[:4], "little")


def _place(message: abi.Early) -> tuple[int, int]:
    offset, count = abi.unpack_place(message.payload)
    if not 0 < count <= abi.BLOCK:
        raise _Failed
    return offset, count


_NAMES: Final = ("desc_area", "driver_area", "device_area")
_Service = Callable[[EarlyDriver, abi.Early, Ffa], Awaitable[bytes]]
_SERVICES: Final[dict[str, _Service]] = {
    abi.CONNECT: EarlyDriver._connect,
    abi.DISCONNECT: EarlyDriver._disconnect,
    abi.GET_CONFIG_GEN: EarlyDriver._get_config_gen,
    t.GET_DEVICE_INFO.name: EarlyDriver._get_info,
    t.GET_DEVICE_FEATURES.name: EarlyDriver._get_features,
    t.SET_DRIVER_FEATURES.name: EarlyDriver._set_features,
    t.GET_CONFIG.name: EarlyDriver._get_config,
    t.SET_CONFIG.name: EarlyDriver._set_config,
    t.GET_DEVICE_STATUS.name: EarlyDriver._get_status,
    t.SET_DEVICE_STATUS.name: EarlyDriver._set_status,
    t.GET_VQUEUE.name: EarlyDriver._get_queue,
    t.SET_VQUEUE.name: EarlyDriver._set_queue,
    t.RESET_VQUEUE.name: EarlyDriver._reset_queue,
    t.EVENT_AVAIL.name: EarlyDriver._avail,
}
