"""A driver side that asks everything, also what it must not: to examine a device side.

Of what it sends only the answers are judged. Whatever they are, it goes on.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio import ring
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg import transport
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.abi.virtio_msg.ffa import Method
from ffabric.abi.virtio_msg.header import BUS, build_header
from ffabric.abi.virtio_msg.message import Message, build, parse
from ffabric.guests.errors import FfaError
from ffabric.guests.virtio.dma import Coherent
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus
from ffabric.guests.virtio_msg.driver.transport import DriverEnd
from ffabric.lab.virtio_msg.worker import EXPECTED, Worker

UNKNOWN: Final = 0x3F
UNKNOWN_EVENT: Final = 0x7E
FAR: Final = 40
"""A block of features that no device has."""
UNOFFERED: Final = 1 << 63
ABSENT: Final = 0xFFF0
FIRST_TOKEN: Final = 0x4000
"""Those of the bus's own requests are smaller."""


class Examiner(Worker):
    """Examines the bus and each of its devices, and uses them as a `Worker` does."""

    _token = FIRST_TOKEN
    _bus: DriverBus

    async def work(self, bus: DriverBus) -> None:
        """Everything at a time when it is allowed, and when it is not."""
        self._bus = bus
        for number in sorted(bus.devices):
            device = bus.devices.get(number)
            if device is not None:
                with suppress(*EXPECTED):
                    await self._examine_device(device)
        await super().work(bus)
        await self._examine_areas(bus)
        await self._examine_bus(bus)

    async def ask(self, kind: MessageType, device: int = 0, /, **fields: Any) -> Message | None:
        """Send a request: the answer, if it is one."""
        self._token += 1
        sent = build(kind, self.generation, device=device, token=self._token, **fields)
        with suppress(DecodeError, *EXPECTED):
            return parse(await self._bus.link.request(sent), self.generation)
        return None

    async def _examine_bus(self, bus: DriverBus) -> None:
        ask = self.ask
        await ask(bus_abi.PING, data=0x600D_CAFE)
        mine = {
            "bus_version": self.generation.bus_version,
            "revision": abi.TRANSPORT_REVISION,
        }
        await ask(abi.VERSION, **(mine | {"bus_version": mine["bus_version"] + 1}))
        await ask(abi.VERSION)
        await ask(bus_abi.GET_DEVICES, offset=0, count=8)
        await ask(bus_abi.GET_DEVICES, offset=0, count=720)
        await ask(abi.EVENT_CONFIGURE, method=Method.POLL)
        await self._send_nonsense(bus)
        with suppress(*EXPECTED):
            await bus.expect(abi.RESET)
        await ask(bus_abi.GET_DEVICES, offset=0, count=8)
        await ask(abi.EVENT_POLL)
        await ask(transport.GET_DEVICE_INFO)
        if not self.generation.narrow:
            mine["ffa_version"] = bus.ffa.version
        await ask(abi.VERSION, **mine)
        await ask(abi.EVENT_CONFIGURE, method=Method.FIFO)
        await ask(abi.EVENT_CONFIGURE, method=Method.NOTIFICATION, notification=64)
        await ask(abi.EVENT_CONFIGURE, method=Method.POLL if bus.direct else Method.INDIRECT)

    async def _send_nonsense(self, bus: DriverBus) -> None:
        """Direct messages alone are answered whatever they are."""
        if bus.link is not bus.direct:
            return
        for nonsense in (
            build_header(BUS, UNKNOWN, 0, FIRST_TOKEN - 1),
            build_header(0, UNKNOWN, 0, FIRST_TOKEN - 1),
            build_header(BUS, UNKNOWN_EVENT, 0, FIRST_TOKEN - 1),
            build_header(BUS, bus_abi.PING.id, 0, FIRST_TOKEN - 1),
            bytes(bytearray(build_header(BUS, bus_abi.PING.id, 0, 7)[:6]) + b"\7\0"),
        ):
            with suppress(*EXPECTED):
                await bus.link.request(nonsense)

    async def _examine_areas(self, bus: DriverBus) -> None:
        ffa = bus.ffa
        ipa = ffa.ram.allocate()
        try:
            handle = await ffa.share(bus.peer, ipa=ipa, pages=1)
        except FfaError:
            return
        good = {"area": bus.max_areas, "handle": handle, "pages": 1}
        attributes = int(abi.NORMAL_SHARED)
        for wrong in ({"area": 0}, {"pages": 0}, {"attributes": attributes | abi.Access.DONATE}):
            await self.ask(abi.AREA_SHARE, **(good | {"attributes": attributes} | wrong))
        await self.ask(abi.AREA_UNSHARE, area=0)
        with suppress(FfaError):
            await ffa.reclaim(handle)
            ffa.ram.free(ipa)

    async def _examine_device(self, device: DriverEnd) -> None:
        ask, number = self.ask, device.number
        info = await device.identify()
        if not info:
            return
        await device.identify()
        await ask(transport.GET_DEVICE_INFO, ABSENT)
        await ask(transport.GET_DEVICE_FEATURES, number, index=0, num=2)
        await ask(transport.GET_DEVICE_FEATURES, number, index=FAR, num=2)
        await device.reset()
        await self._examine_features(device)
        chosen = await device.begin(info, bits.VERSION_1 | bits.ACCESS_PLATFORM | bits.RING_RESET)
        await self._examine_config(device)
        await self._examine_queue(device, resets=bool(chosen & bits.RING_RESET))
        await ask(transport.GET_DEVICE_STATUS, number)
        await device.reset()
        await self._examine_config(device)

    async def _examine_features(self, device: DriverEnd) -> None:
        ask, number = self.ask, device.number
        status = bits.ACKNOWLEDGE
        await ask(transport.SET_DEVICE_STATUS, number, status=status)
        status |= bits.DRIVER
        await ask(transport.SET_DEVICE_STATUS, number, status=status)
        wrong = bits.VERSION_1 | bits.ACCESS_PLATFORM | UNOFFERED
        blocks = wrong.to_bytes(8, "little")
        await ask(transport.SET_DRIVER_FEATURES, number, index=0, blocks=blocks)
        await ask(transport.SET_DEVICE_STATUS, number, status=status | bits.FEATURES_OK)
        await ask(transport.GET_DEVICE_STATUS, number)

    async def _examine_config(self, device: DriverEnd) -> None:
        ask, number, size = self.ask, device.number, device.info["config_size"]
        await ask(transport.GET_CONFIG, number, offset=0, length=min(size, 4))
        await ask(transport.GET_CONFIG, number, offset=0, length=min(size, 4))
        await ask(transport.GET_CONFIG, number, offset=size, length=4)
        stale = {"generation": 0, "offset": 0, "data": bytes(min(size, 4))}
        await ask(transport.SET_CONFIG, number, **stale)
        await ask(transport.SET_CONFIG, number, generation=0, offset=size, data=bytes(4))

    async def _examine_queue(self, device: DriverEnd, *, resets: bool) -> None:
        ask, number = self.ask, device.number
        count = device.info["max_virtqueues"]
        await ask(transport.GET_VQUEUE, number, index=count)
        if not count:
            return
        most = await device.max_queue_size(0)
        size = 1 << most.bit_length() - 1
        memory = await device.mapping.allocate(ring.layout(size).total)
        place = _place(memory, size)
        if self.generation.queue_flags:
            place["flags"] = transport.QUEUE_ENABLED
        set_queue = transport.SET_VQUEUE
        await ask(set_queue, number, index=count, **place)
        await ask(set_queue, number, index=0, **(place | {"size": 0}))
        await ask(set_queue, number, index=0, **(place | {"size": 2 * size}))
        await ask(set_queue, number, index=0, **place)
        await ask(set_queue, number, index=0, **place)
        await ask(transport.GET_VQUEUE, number, index=0)
        if resets:
            await ask(transport.RESET_VQUEUE, number, index=0)
            await ask(transport.GET_VQUEUE, number, index=0)
            await ask(set_queue, number, index=0, **place)
            await ask(transport.GET_VQUEUE, number, index=0)
        await device.bus.event(transport.EVENT_AVAIL, number, index=count)
        await device.reset()
        await ask(transport.GET_VQUEUE, number, index=0)
        await device.mapping.free(memory)


def _place(memory: Coherent, size: int) -> dict[str, int]:
    desc, avail, used, _ = ring.layout(size)
    base = memory.address
    return {
        "size": size,
        "desc_area": base + desc,
        "driver_area": base + avail,
        "device_area": base + used,
    }
