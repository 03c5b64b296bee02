"""Linux's driver side: it finds device sides, brings their buses up and drives what they have.

The order of a bus (DEN0153, as Linux has it): VERSION with zeros, VERSION with what was answered,
EVENT_CONFIGURE, AREA_SHARE of a pool, GET_DEVICES in windows of 256. Of a device (virtio 1.3,
3.1.1): INFO, status 0 until it reads 0, ACKNOWLEDGE, DRIVER, features, FEATURES_OK and whether it
stays, configuration, each virtqueue, DRIVER_OK. Whatever is not as the texts have it ends it with
one of Linux's error numbers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final

from ffabric.abi.ffa.partition_info import DIRECT_REQ2_RECEIVE
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.partition import Partition
from ffabric.lab.virtio_msg.linux import carrier, wire
from ffabric.lab.virtio_msg.linux.device import LinuxDevice
from ffabric.lab.virtio_msg.linux.fifo import NOTIFICATION, PAGES, Fifo, create
from ffabric.lab.virtio_msg.linux.pool import AREA_UNIT, Pool
from ffabric.lab.virtio_msg.linux.requests import Requests
from ffabric.lab.virtio_msg.linux.wire import LinuxError

BUS_VERSION: Final = 0x1_0000
REVISION: Final = 1
WINDOW: Final = 256
DRAIN: Final = 64
"""Events that are fetched in a row."""
POLLS: Final = 2_000
"""How often events are polled for, in place of a while each 100 ms."""
LAST_NOTIFICATION: Final = 63
Use = Callable[[LinuxDevice], Awaitable[object]]


class Bus(Requests):
    """The bus to one device side: its messages, its areas, its devices."""

    def __init__(
        self, ffa: Ffa, peer: int, form: wire.Form, way: carrier.Carrier, *, fifo: bool = False
    ) -> None:
        super().__init__(ffa, peer, form, way)
        self._fifo = fifo
        self.devices: dict[int, LinuxDevice] = {}
        self.max_areas = 0
        self.features = 0
        self._fifo_memory: tuple[int, int] | None = None
        """Address and handle."""
        self.pool = Pool(self)

    async def open(self) -> None:
        """Bring it up."""
        await self._agree()
        direct = isinstance(self.carrier, carrier.Direct)
        needed = ("DIRECT_RX", "DIRECT_TX") if direct else ("INDIRECT_RX", "INDIRECT_TX")
        if any(not self.features & wire.FEATURES[name] for name in needed):
            what = f"bus_feat={self.features:#x} lacks {' or '.join(needed)}"
            raise LinuxError(wire.EOPNOTSUPP, what)
        if self._fifo:
            await self._open_fifo()
            await self.expect_ok(wire.EVENT_CONFIGURE, wire.BY_FIFO, 0, NOTIFICATION)
        else:
            method = wire.POLLED if direct else wire.BY_MESSAGE
            await self.expect_ok(wire.EVENT_CONFIGURE, method, 0, 0)
        await self.pool.open(self.max_areas)
        for number in await self._list():
            self.add(number)

    async def _open_fifo(self) -> None:
        """Share both rings, and say where they are."""
        for name in ("FIFO", "NOTIF_RX", "NOTIF_TX"):
            if not self.features & wire.FEATURES[name]:
                raise LinuxError(wire.EOPNOTSUPP, f"bus_feat={self.features:#x} lacks {name}")
        ffa = self.ffa
        ipa = ffa.ram.allocate(PAGES)
        ffa.memory.write(ipa, bytes(PAGES * AREA_UNIT))
        both = create(ffa.memory, ipa)
        handle = await ffa.share(self.peer, ipa=ipa, pages=PAGES)
        await ffa.notification_bind(self.peer, 1 << NOTIFICATION)
        way = Fifo(ffa, self.peer, self.carrier, both, self._wait_a_little)
        values = (handle, PAGES, NOTIFICATION)
        (result, way.told_by), _ = await self.request(wire.FIFO_CONFIGURE, 0, *values)
        if result != wire.OK or way.told_by > LAST_NOTIFICATION:
            raise LinuxError(wire.EIO, f"FIFO_CONFIGURE: {result}, notification {way.told_by}")
        self.carrier, self._fifo_memory = way, (ipa, handle)

    async def _wait_a_little(self) -> None:
        await self.ffa.yield_()
        await self.ffa.notification_get(carrier.ALL, self.ffa.vcpu.index)

    async def close(self) -> None:
        """Take all memory back. A FIFO is given up by a reset."""
        await self.pool.close()
        if self._fifo_memory is not None:
            await self.expect_ok(wire.RESET)
            ipa, handle = self._fifo_memory
            await self.ffa.reclaim(handle)
            self.ffa.ram.free(ipa, PAGES)

    async def _agree(self) -> None:
        """Ask with zeros, then say what was answered: only the echo of that agrees."""
        probe, _ = await self.request(wire.VERSION, 0, 0, 0, 0)
        if probe[0] != BUS_VERSION or probe[1] != REVISION:
            raise LinuxError(wire.EPROTO, f"VERSION: {probe[0]:#x}, revision {probe[1]}")
        agreed, _ = await self.request(wire.VERSION, 0, probe[0], probe[1], self.ffa.version)
        if agreed[:2] != probe[:2]:
            raise LinuxError(wire.EPROTO, f"VERSION: {agreed[0]:#x} is not what was asked for")
        self.features, self.max_areas = agreed[4], agreed[5]
        if not self.max_areas:
            raise LinuxError(wire.EINVAL, "VERSION: there are to be no areas")

    async def _list(self) -> list[int]:
        """The numbers of all devices that there are."""
        found: list[int] = []
        offset = 0
        while True:
            kind, form = self.form.get_devices, self.form
            fields, bitmap = await self.request(kind, 0, offset, WINDOW, tail=None)
            start, count, following = fields if form.count_first else _swapped(fields)
            self._check_window(offset, start, count, following, bitmap)
            there = (bit for bit in range(count) if bitmap[bit // 8] >> bit % 8 & 1)
            found.extend(offset + bit for bit in there)
            if not following:
                return found
            offset = following

    def _check_window(
        self, asked: int, start: int, count: int, following: int, bits: bytes
    ) -> None:
        """GET_DEVICES (pr28, bus messages): whole bytes, and the next window behind this one."""
        wrong = ""
        if start != asked:
            wrong = f"it is from {start} on and not from {asked}"
        elif count % 8 or not 0 < count <= WINDOW or len(bits) != count // 8:
            wrong = f"{count} devices in {len(bits)} bytes"
        elif following and (following <= asked or following % 8 or following < asked + count):
            wrong = f"the next window is at {following}"
        if wrong:
            other = wire.PR28 if self.form is wire.V2 else wire.V2
            hint = ""
            if len(bits) and len(bits) * 8 == following:
                hint = f": the device side speaks {other.name}, and not {self.form.name}"
            raise LinuxError(wire.EPROTO, f"GET_DEVICES: {wrong}{hint}")

    def add(self, number: int) -> None:
        """There is a device."""
        if number not in self.devices:
            self.devices[number] = LinuxDevice(self, number)

    async def request(
        self, kind: wire.Kind, device: int, *values: object, more: bytes = b"", tail: int | None = 0
    ) -> tuple[tuple[int, ...], bytes]:
        """As any request; but a device that is gone, as was heard, is asked nothing any more."""
        self._check_there(kind, device)
        return await super().request(kind, device, *values, more=more, tail=tail)

    async def event(self, kind: wire.Kind, device: int, *values: object) -> None:
        """An event, of a device that is there."""
        self._check_there(kind, device)
        await super().event(kind, device, *values)

    def _check_there(self, kind: wire.Kind, device: int) -> None:
        if not kind.bus:
            self.hear()
            if device not in self.devices:
                raise LinuxError(wire.ENODEV, f"{kind.name}: device {device} is gone")

    async def poll(self) -> bool:
        """Fetch what has happened, as each 100 ms: whether there was anything."""
        found = self.hear()
        if isinstance(self.carrier, (carrier.Indirect, Fifo)):
            come = await self.carrier.take()
        else:
            come = await self._drain()
        for data in come:
            self._dispatch(wire.parse(data, "an event"))
        return found or bool(come)

    def hear(self) -> bool:
        """Pass on events that have come in the place of responses: whether there were any."""
        found = self.carrier.arrived()
        for data in found:
            self._dispatch(wire.parse(data, "an event"))
        return bool(found)

    async def _drain(self) -> list[bytes]:
        """EVENT_POLL, until a header alone says that there is no more."""
        found: list[bytes] = []
        while len(found) < DRAIN:
            sent = wire.build(wire.EVENT_POLL, 0, self.new_token())
            data = await self.carrier.request(sent)
            got = wire.parse(data, "EVENT_POLL")
            if got.type & wire.RESPONSE:
                wire.check_response(wire.EVENT_POLL, sent, got)
                break
            found.append(data)
        return found

    def _dispatch(self, got: wire.Got) -> None:
        """An event: its type and size are exact, and it is of something that there is."""
        if not got.id & wire.EVENT or got.type & wire.RESPONSE:
            raise LinuxError(wire.EPROTO, f"message {got.id:#x} of type {got.type} is not an event")
        if got.type == wire.TRANSPORT:
            device = self.devices.get(got.device)
            if device is not None and device.identified:
                device.on_event(got)
            return
        if got.device:
            raise LinuxError(wire.EPROTO, f"an event of the bus names device {got.device}")
        if got.id == wire.EVENT_DEVICE.id:
            number, state = wire.unpack(wire.EVENT_DEVICE, got)
            if state == 1:
                self.add(number)
            elif state == 2:
                gone = self.devices.pop(number, None)
                if gone is not None:
                    gone.removed = True
            return
        if got.id == wire.AREA_RELEASE.id:
            (area,) = wire.unpack(wire.AREA_RELEASE, got)
            self.pool.released(area)

    async def has_lost(self, device: LinuxDevice) -> bool:
        """Whether a device is gone; the event that says so may still be on its way."""
        await self.poll()
        return device.removed or device.number not in await self._list()

    async def wait(self, until: Callable[[], bool], what: str) -> None:
        """Poll until that is true. LinuxError -ETIMEDOUT if it takes too long."""
        for _ in range(POLLS):
            if until():
                return
            if not await self.poll():
                await self.ffa.yield_()
        raise LinuxError(wire.ETIMEDOUT, what)


def _swapped(fields: tuple[int, ...]) -> tuple[int, int, int]:
    start, following, count = fields
    return start, count, following


class LinuxDriver(Partition):
    """A VM with Linux's driver: it brings every bus up, and ``uses`` each device by its type.

    ``form`` is the wire form, ``indirect`` whether messages go by FFA_MSG_SEND2, ``fifo`` whether
    they go by a FIFO once the bus is up; what it ends with is in `error`, which is "" if all went
    well.
    """

    uuid = carrier.DRIVER_UUID
    manifest: ClassVar[dict[str, object]] = {"notification_support": True, "mem_size": 16 << 20}

    def __init__(
        self,
        name: str = "linux",
        *,
        form: str = "v2",
        indirect: bool = False,
        fifo: bool = False,
        uses: Mapping[int, Use] | None = None,
        **_: Any,
    ) -> None:
        super().__init__(name)
        self.form = wire.FORMS[form]
        self.indirect = indirect
        self.fifo = fifo
        self.uses = uses if uses is not None else {}
        self.error = ""
        self.used = 0
        """Devices that were brought up, used and given up."""
        self.buses: list[Bus] = []

    async def main(self, ffa: Ffa) -> None:
        """Drive all there is, then rest."""
        try:
            await self.work(ffa)
        except (LinuxError, FfaError) as error:
            number = "" if isinstance(error, LinuxError) else f"-{wire.EIO}: "
            self.error = f"{number}{error}"
            await ffa.console_log(f"virtio-msg-ffa: {self.error}\n")
        while True:
            await ffa.idle()

    async def work(self, ffa: Ffa) -> None:
        """Every device of every bus. LinuxError for what is not as the texts have it."""
        await ffa.map_buffers()
        for peer in await ffa.partition_info(carrier.DEVICE_UUID):
            way: carrier.Carrier
            if self.indirect or not peer.properties & DIRECT_REQ2_RECEIVE:
                way = carrier.Indirect(ffa, peer.id, carrier.DEVICE_UUID, ffa.yield_)
            else:
                way = carrier.Direct(ffa, peer.id)
            bus = Bus(ffa, peer.id, self.form, way, fifo=self.fifo)
            self.buses.append(bus)
            await bus.open()
            for device in list(bus.devices.values()):
                await self._drive(bus, device)
            await bus.close()

    async def _drive(self, bus: Bus, device: LinuxDevice) -> None:
        """Bring a device up, use it, give it up. That one is gone meanwhile ends it alone."""
        try:
            await device.bring_up()
            use = self.uses.get(device.id)
            if use is not None:
                await use(device)
            await device.reset()
        except LinuxError:
            if not await bus.has_lost(device):
                raise
        else:
            self.used += 1
