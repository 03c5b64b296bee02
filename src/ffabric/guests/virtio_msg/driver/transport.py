"""The driver's end of the transport: a device reached by messages (virtio-msg pr28 and v2).

The order is that of the specification: INFO, status 0 until it reads 0, ACKNOWLEDGE, DRIVER, the
features, FEATURES_OK and whether it stayed, per virtqueue GET, SET and GET again, DRIVER_OK.
Answers are judged as Linux judges them: what cannot be makes the device useless, not the driver.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio import ids
from ffabric.abi.virtio_msg import transport as abi
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.header import HEADER_SIZE
from ffabric.abi.virtio_msg.message import Message
from ffabric.guests.virtio.device_queue import Place
from ffabric.guests.virtio.driver import DeviceLost
from ffabric.guests.virtio_msg.driver.bus import Bus, BusError, OutOfPatience

if TYPE_CHECKING:
    from ffabric.guests.virtio.dma import Mapping, Memory
    from ffabric.system.vcpu import Ram

CONFIG_TRIES: Final = 5
MAX_FEATURE_BLOCKS: Final = 64
_CHOSEN: Final = bits.ACKNOWLEDGE | bits.DRIVER | bits.FEATURES_OK


class DriverEnd:
    """A device of a bus, by its number. It is the `Transport` of the device's driver."""

    def __init__(self, bus: Bus, number: int) -> None:
        self.bus = bus
        self.number = number
        self.memory: Memory = bus.memory
        self.ram: Ram = bus.ram
        self.mapping: Mapping = bus.mapping
        self.info: dict[str, Any] = {}
        self.removed = False
        self.status: int = 0
        """The status that the device last told of."""
        self.config_generation: int = 0
        self.on_config: Callable[[int, int], object] | None = None
        """Gets offset and length of what has changed in the configuration (0: all of it)."""

    def __repr__(self) -> str:
        what = ids.NAMES.get(self.info.get("device_id", 0), "device")
        return f"<{what} {self.number} of {self.bus.name}>"

    async def request(self, kind: MessageType, /, **fields: Any) -> Message:
        """A request to the device. Raises DeviceLost if it is gone."""
        self._look()
        try:
            return await self.bus.request(kind, self.number, **fields)
        except OutOfPatience:
            raise
        except BusError:
            with suppress(BusError):
                await self.bus.poll()  # it may have been removed
            self._look()
            raise

    def _look(self) -> None:
        if self.removed:
            raise DeviceLost(f"{self} was removed")

    async def identify(self) -> int:
        """GET_DEVICE_INFO: the virtio device id; `info` has the rest."""
        self.info = (await self.request(abi.GET_DEVICE_INFO)).fields
        return int(self.info["device_id"])

    async def begin(self, device_id: int, wanted: int) -> int:
        """Reset the device and choose features."""
        found = await self.identify()
        if found != device_id:
            raise BusError(f"device {self.number} has id {found}, not {device_id}")
        await self.reset()
        await self._set_status(bits.ACKNOWLEDGE)
        await self._set_status(bits.ACKNOWLEDGE | bits.DRIVER)
        chosen = wanted & await self.offered()
        if not chosen & bits.VERSION_1 or not chosen & bits.ACCESS_PLATFORM:
            raise BusError(f"{self} lacks VERSION_1 or ACCESS_PLATFORM")
        await self.request(abi.SET_DRIVER_FEATURES, index=0, blocks=chosen.to_bytes(8, "little"))
        status = await self._set_status(_CHOSEN)
        if not status & bits.FEATURES_OK:
            raise BusError(f"{self} does not take the features {chosen:#x}")
        return chosen

    async def offered(self) -> int:
        """The feature bits that the device has."""
        count = -(-self.info["num_features"] * self.bus.generation.feature_unit // 32)
        if count > MAX_FEATURE_BLOCKS:
            raise BusError(f"{self} has {count} blocks of features")
        features = 0
        index = 0
        while index < count:
            answer = await self.request(abi.GET_DEVICE_FEATURES, index=index, num=count - index)
            if answer["index"] != index or not 0 < answer["num"] <= count - index:
                raise BusError(f"{self}: {answer}")
            features |= int.from_bytes(answer["blocks"], "little") << 32 * index
            index += answer["num"]
        return features

    async def _set_status(self, status: int) -> int:
        self.status = (await self.request(abi.SET_DEVICE_STATUS, status=status))["status"]
        return self.status

    async def reset(self) -> None:
        """Status 0, until it reads 0."""
        wait = None
        while await self._reset_status(begun=wait is not None):
            wait = wait or self.bus.pauses(f"{self} does not reset")
            await wait.pause()

    async def _reset_status(self, *, begun: bool) -> int:
        if not begun:
            return await self._set_status(0)
        self.status = (await self.request(abi.GET_DEVICE_STATUS))["status"]
        return self.status

    async def max_queue_size(self, index: int) -> int:
        """GET_VQUEUE of a virtqueue that is not set up."""
        answer = await self.request(abi.GET_VQUEUE, index=index)
        if answer["size"]:
            raise BusError(f"{self}: virtqueue {index} is in use")
        if not answer["max_size"]:
            raise BusError(f"{self} has no virtqueue {index}")
        return int(answer["max_size"])

    async def set_queue(self, index: int, place: Place) -> None:
        """SET_VQUEUE, and GET_VQUEUE to see that it worked."""
        fields = {
            "size": place.size,
            "desc_area": place.desc,
            "driver_area": place.avail,
            "device_area": place.used,
        }
        flags = {"flags": abi.QUEUE_ENABLED} if self.bus.generation.queue_flags else {}
        await self.request(abi.SET_VQUEUE, index=index, **fields, **flags)
        answer = await self.request(abi.GET_VQUEUE, index=index)
        if any(answer[name] != value for name, value in (fields | flags).items()):
            raise BusError(f"{self}: {answer}")

    async def reset_queue(self, index: int) -> None:
        """RESET_VQUEUE; it can be set up again then."""
        await self.request(abi.RESET_VQUEUE, index=index)

    async def ready(self) -> None:
        """DRIVER_OK."""
        status = await self._set_status(_CHOSEN | bits.DRIVER_OK)
        if not status & bits.DRIVER_OK or status & bits.NEEDS_RESET:
            raise BusError(f"{self} does not start: {bits.Status(status)}")

    async def read_config(self, offset: int, length: int) -> bytes:
        """In as many messages as it takes, again if the generation changed between them.

        Raises BusError for what is outside of the configuration.
        """
        await self._bound(offset, length)
        record = abi.GET_CONFIG.response.record(self.bus.generation.number)  # type: ignore[union-attr]
        room = self.bus.max_size - HEADER_SIZE - record.size
        for _ in range(CONFIG_TRIES):
            data, generations = b"", set()
            while len(data) < length:
                at, count = offset + len(data), min(room, length - len(data))
                answer = await self.request(abi.GET_CONFIG, offset=at, length=count)
                if answer["offset"] != at or answer["length"] != count:
                    raise BusError(f"{self}: {answer}")
                data += answer["data"]
                generations.add(answer["generation"])
            if len(generations) <= 1:
                self.config_generation = max(generations, default=self.config_generation)
                return data
        raise BusError(f"{self}: the configuration keeps changing")

    async def write_config(self, offset: int, data: bytes) -> None:
        """With the generation that was last seen where that counts, in as many messages as needed.

        If that is an old one, what is there is read before it is written again. Raises BusError if
        the device refuses it.
        """
        await self._bound(offset, len(data))
        record = abi.SET_CONFIG.request.record(self.bus.generation.number)
        room = self.bus.max_size - HEADER_SIZE - record.size
        for at in range(0, len(data), room):
            await self._write_piece(offset + at, data[at : at + room])

    async def _write_piece(self, offset: int, data: bytes) -> None:
        strict = self.bus.generation.strict_config
        for tries in range(CONFIG_TRIES):
            if strict and (tries or not self.config_generation):
                await self.read_config(offset, len(data))
            generation = self.config_generation if strict else 0
            answer = await self.request(
                abi.SET_CONFIG, generation=generation, offset=offset, data=data
            )
            stale = strict and answer["generation"] != generation
            self.config_generation = answer["generation"]
            if answer["length"] == len(data):
                return
            if not stale:
                break
        raise BusError(f"{self}: the configuration cannot be written at {offset}")

    async def _bound(self, offset: int, length: int) -> None:
        """Nothing outside of the configuration is asked for."""
        if not self.info:
            await self.identify()
        size = self.info["config_size"]
        if offset + length > size:
            raise BusError(f"{self}: its configuration has {size} bytes, not {offset + length}")

    async def shared_memory(self, index: int) -> tuple[int, int] | None:
        """Address and bytes of a shared memory region of the device (GET_SHM), if it has it.

        What the address means is the bus's business.
        """
        answer = await self.request(abi.GET_SHM, index=index)
        if answer["index"] != index:
            raise BusError(f"{self}: {answer}")
        return (answer["address"], answer["length"]) if answer["length"] else None

    async def notify(self, index: int, position: int = 0) -> None:
        """EVENT_AVAIL."""
        self._look()
        await self.bus.event(abi.EVENT_AVAIL, self.number, index=index, next=position)

    async def wait(self, until: Callable[[], bool], *, for_ever: bool = False) -> None:
        """Take events until that is true, or the device is lost."""

        def over() -> bool:
            return self.removed or bool(self.status & bits.NEEDS_RESET) or until()

        await self.bus.wait(over, for_ever=for_ever)
        self._look()
        if self.status & bits.NEEDS_RESET:
            raise DeviceLost(f"{self} needs a reset")

    def on_event(self, event: Message) -> None:
        """EVENT_USED says no more than that the rings should be looked at, which `wait` does."""
        if event.kind is abi.EVENT_CONFIG:
            self.status = event["status"]
            self.config_generation = event["generation"]
            if self.on_config is not None:
                self.on_config(event["offset"], event["length"])
