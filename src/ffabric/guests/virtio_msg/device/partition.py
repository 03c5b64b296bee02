"""A partition with virtio devices: an SP for VMs, or a VM for other VMs.

Drivers find it by its UUID. They reach an SP by direct messages or by indirect ones, a VM by
indirect ones. What happens to a device while the partition does not run (somebody types at a
console, a back end has finished) reaches the drivers when it next runs: at a poll, or at an
interrupt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final
from uuid import UUID

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications
from ffabric.abi.ffa.messages import Message
from ffabric.abi.ffa.uuids import as_uuid
from ffabric.abi.virtio_msg import early
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.early import SIZE as EARLY_SIZE
from ffabric.abi.virtio_msg.ffa import Method
from ffabric.abi.virtio_msg.generations import (
    DEFAULT,
    Generation,
    GenerationName,
    as_generation,
    check_size,
)
from ffabric.abi.virtio_msg.header import BUS, RESPONSE, parse_header
from ffabric.guests import interrupts
from ffabric.guests.calls.messages import DirectMessage
from ffabric.guests.ffa import Ffa
from ffabric.guests.partition import Partition
from ffabric.guests.virtio.device import Device, Work
from ffabric.guests.virtio.devices.described import made_devices
from ffabric.guests.virtio_msg.device.carriers import (
    ALL_FEATURES,
    CARRIERS,
    VM_FEATURES,
    Carrier,
    features_of,
)
from ffabric.guests.virtio_msg.device.delivery import Delivery
from ffabric.guests.virtio_msg.device.ffa_bus import NOTIFICATIONS, Connection
from ffabric.guests.virtio_msg.device.fifo import DeviceFifo
from ffabric.guests.virtio_msg.device.table import DeviceTable
from ffabric.guests.virtio_msg.device.wire import Wire, wire_of
from ffabric.guests.virtio_msg.driver.fifo_link import BOOTSTRAP
from ffabric.system.vcpu import Peer, Vcpu

RX_FULL: Final = notifications.RX_BUFFER_FULL_SPM | notifications.RX_BUFFER_FULL_HYPERVISOR
FRAMEWORK: Final = notifications.GET_FROM_SPM | notifications.GET_FROM_HYPERVISOR
OTHERS: Final = notifications.GET_FROM_SP | notifications.GET_FROM_VM
_EARLY_WORDS = EARLY_SIZE // 8
OUTBOX: Final = 128
"""Answers that wait for room in a driver side's RX (as many messages wait at most in Linux)."""
FIFO_TURN: Final = 64
"""Messages of a FIFO that are served in a row."""


class DeviceSide(Partition):
    """A partition with devices, which are numbered from 0 in the order in which they are added.

    Once a driver side has agreed on the version, it gets the devices that the configuration
    assigns to it, and those that nobody has yet. When its VM is destroyed they are offered again.

    `doorbell` is the interrupt with which back ends outside call the partition. `answers_to` is
    the UUID of the service that indirect messages are addressed to, by default that of driver
    sides. The ``arm_ffa`` driver of Linux hands a message to the driver that has bound its UUID;
    in kernels without services of their own that is the UUID of device sides. `carriers` are the
    ways to send messages that it offers (only an SP can offer "direct"). `max_size` is the largest
    message in bytes, and must be the same on both sides; an impossible one is a ValueError.
    `described` are devices as given by the tables [[virtio]] of a system's file.
    """

    uuid: str | UUID | None = abi.DEVICE_UUID
    manifest: ClassVar[dict[str, object]] = {
        "notification_support": True,
        "vm_availability_messages": 0b10,
    }

    def __init__(
        self,
        devices: Iterable[Device] = (),
        *,
        generation: Generation | GenerationName = DEFAULT,
        name: str = "devices",
        doorbell: int | None = None,
        answers_to: UUID | str = abi.DRIVER_UUID,
        described: Sequence[Mapping[str, Any]] = (),
        max_size: int = abi.MAX_DIRECT,
        carriers: Iterable[Carrier] = CARRIERS,
    ) -> None:
        super().__init__(name)
        self.features: int = features_of(carriers)
        direct = bool(abi.BusFeatures(self.features).DIRECT_RX)
        most = abi.DIRECT_ROOM if direct else abi.LARGEST
        self.max_size: int = check_size(max_size, as_generation(generation), most)
        self.generation: Generation = as_generation(generation)
        self.doorbell = doorbell
        self._delivery = Delivery(as_uuid(answers_to))
        """What goes to driver sides beside the answers to direct messages."""
        self.connections: dict[int, Connection] = {}
        self._eventful: dict[int, Connection] = {}
        """Those for whom events wait, of which they may not have been told."""
        self._table = DeviceTable()
        self._vcpu: Vcpu | None = None
        self._orphaned: list[Connection] = []
        """Of drivers that are gone, while somebody outside uses what they have left."""
        self._inbox: deque[Message] = deque()
        """Messages that were in RX when it was needed."""
        self._full = False
        """A VM has a message in RX."""
        self._told = False
        """A VM has been notified of something in a FIFO."""
        self._work: deque[tuple[Device, Work]] = deque()
        """What devices want done by calls, in order."""
        for device in devices:
            self.add(device)
        for made, owner in made_devices(described, self.say):
            self.add(made, owner)

    def declare(self, **keys: object) -> None:
        """Add properties to this partition's manifest, before it is booted."""
        self.manifest = {**self.manifest, **keys}  # type: ignore[misc]

    def add(self, device: Device, driver: Peer | None = None) -> int:
        """Add a device for the driver side with an id or a name, or for the first that agrees.

        Returns the device's number, which another device may have had before. May be called while
        the system runs: the driver is told by an event. ValueError if there are too many devices,
        or if a back end outside still uses what a former driver has left.
        """
        number = self._table.number_for(device)
        if self._vcpu is not None:
            device.attach(self._vcpu)
        self._work.extend(device.work)
        device.work = self._work
        self._table.place(number, device, driver)
        return number

    def remove(self, number: int) -> Device:
        """Remove the device with a number; its driver is told by an event.

        May be called while the system runs. KeyError if there is none.
        """
        placed = self._table.placed.pop(number)
        for connection in (*self.connections.values(), *self._orphaned):
            if connection.peer == placed.driver and number in connection.ends:
                connection.remove(number)
        return placed.device

    @property
    def _wire(self) -> Wire:
        return wire_of(self.generation)

    @property
    def numbers(self) -> list[int]:
        """The numbers of all devices."""
        return list(self._table.placed)

    def device(self, number: int) -> Device:
        """The device with a number."""
        return self._table.placed[number].device

    def _on_events(self, connection: Connection) -> None:
        self._eventful[connection.peer] = connection

    def _connection(self, peer: int, ffa: Ffa) -> Connection:
        connection = self.connections.get(peer)
        if connection is None:
            connection = self.connections[peer] = Connection(
                peer,
                ffa,
                self.generation,
                bus_features=self.features & (ALL_FEATURES if ffa.vcpu.secure else VM_FEATURES),
                max_size=self.max_size,
                free_notification=self._free_notification,
                make_room=self._make_room,
                on_agreed=self._table.agree,
                on_events=self._on_events,
            )
        return connection

    async def main(self, ffa: Ffa) -> None:
        """An SP waits for messages; a VM waits for interrupts, which tell it of messages."""
        if ffa.vcpu.secure:
            await super().main(ffa)
        await self.on_boot(ffa)
        await self.enable_notifications(ffa)
        while True:
            if not self._full and not self._inbox and not self._told:
                await ffa.idle()
            self._told = False
            await self.serve(ffa)

    async def on_boot(self, ffa: Ffa) -> None:
        """Map RX/TX buffers, for indirect messages, and have the devices know their memory."""
        if not ffa.buffers.pages:
            await ffa.map_buffers()
        if self._vcpu is None:
            self._vcpu = ffa.vcpu
            self._table.resolve = ffa.vcpu.resolve
            if self.doorbell is not None:
                await interrupts.controller(ffa).enable(ffa, self.doorbell)
            for placed in self._table.placed.values():
                placed.device.attach(ffa.vcpu)

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """A message of a driver side."""
        if self.generation.early:
            return await self._on_early_request(request, ffa)
        if request.function != fid.FFA_MSG_SEND_DIRECT_REQ2:
            return await self._on_foreign_request(request, ffa)
        connection = self._connection(request.sender, ffa)
        response = await self._wire.direct(connection, abi.from_registers(request.payload), ffa)
        if connection.events or connection.complaints or self._delivery.said:
            await self._delivery.tell(connection, ffa)
        if self._work:
            await self._do_work(ffa)
        if self._eventful:
            await self._tell_others(connection, ffa)
        return request.respond(*(abi.BUSY if response is None else abi.to_registers(response)))

    async def _on_foreign_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """A request without a UUID is none of this bus; an early driver side is told so."""
        word = request.payload[0] if request.payload else 0
        if not early.is_activate(word):
            return request.respond()
        connection = self._connection(request.sender, ffa)
        response = await connection.handle(word.to_bytes(8, "little"), ffa)
        await self._delivery.complain(connection, ffa)
        return request.respond(int.from_bytes((response or b"")[:8], "little"))

    async def _on_early_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """A message of 40 bytes: in x3 to x7, or from x4 on with a UUID."""
        with_uuid = request.function == fid.FFA_MSG_SEND_DIRECT_REQ2
        wide = request.function != fid.FFA_MSG_SEND_DIRECT_REQ_32
        if not wide:
            return request.respond()
        connection = self._connection(request.sender, ffa)
        data = b"".join(word.to_bytes(8, "little") for word in request.payload[:_EARLY_WORDS])
        response = await self._wire.direct(connection, data, ffa)
        if response is None or not response:
            response = bytes(EARLY_SIZE)
        if connection.method is Method.POLL:
            connection.events.clear()  # they are seen in the rings
        if connection.events or connection.complaints or self._delivery.said:
            await self._delivery.tell(connection, ffa)
        words = [int.from_bytes(response[at : at + 8], "little") for at in range(0, EARLY_SIZE, 8)]
        return request.respond(*words, *([0] * 9 if with_uuid else []))

    async def on_run(self, ffa: Ffa) -> None:
        """The scheduler gave cycles because something is pending."""
        await self.serve(ffa)

    async def on_notifications(
        self, from_sps: int, from_vms: int, framework: int, ffa: Ffa
    ) -> None:
        """A VM takes what waits in RX as soon as it goes on."""
        self._full |= bool(framework & RX_FULL)
        self._told |= bool(from_sps | from_vms)

    async def on_device_interrupt(self, intid: int, ffa: Ffa) -> None:
        """A back end has something to say."""
        await self.tell(ffa)

    async def on_vm_destroyed(self, vm: int, ffa: Ffa) -> None:
        """Its devices are free, and its memory goes back, once nobody outside uses them."""
        connection = self.connections.pop(vm, None)
        self._table.forget(vm)
        self._eventful.pop(vm, None)
        if connection is not None:
            self._orphaned.append(connection)
            await self._clear_up(ffa)
            await self._do_work(ffa)

    async def _clear_up(self, ffa: Ffa) -> None:
        """Take back what drivers that are gone have left, and offer their devices anew."""
        for connection in list(self._orphaned):
            if await connection.forget(ffa) and connection in self._orphaned:
                self._orphaned.remove(connection)
                for number in list(connection.ends):
                    connection.remove(number)
                    self._table.free(number)
            await self._delivery.complain(connection, ffa)

    async def release(self, driver: int, area: int, ffa: Ffa) -> bool:
        """Give up an area of a driver side without being asked.

        False if there is no such area, or if it is in use outside. The driver side reclaims it, and
        stops using its devices.
        """
        connection = self.connections.get(driver)
        if connection is None or not await connection.release(area, ffa):
            return False
        await self._delivery.tell(connection, ffa)
        return True

    async def serve(self, ffa: Ffa) -> None:
        """Serve all messages that have arrived, then send what is to be sent.

        What arrives in the meantime is served, too, as nobody announces it a second time.
        """
        delivery = self._delivery
        await self._take(ffa)
        while True:
            while self._inbox:
                await self._serve(self._inbox.popleft(), ffa)
                await self._take(ffa)
            for connection in list(self.connections.values()):
                if connection.fifo is not None:
                    await self._drain(connection, connection.fifo, ffa)
            delivery.gave_way = False
            await self.tell(ffa)
            if delivery.gave_way:
                await self._take(ffa)
            if not self._inbox:
                return

    def _free_notification(self) -> int:
        taken = {each.fifo.told_by for each in self.connections.values() if each.fifo is not None}
        return next(each for each in range(NOTIFICATIONS) if each not in taken)

    async def _drain(self, connection: Connection, fifo: DeviceFifo, ffa: Ffa) -> None:
        """Serve what is in a FIFO, as many messages as it has slots."""
        full, count = fifo.was_full, 0
        while connection.fifo is fifo and (data := fifo.get()) is not None:
            if data and not parse_header(data).type & RESPONSE:
                await self._answer(connection, data, ffa, by_fifo=True)
            count += 1
            if count >= FIFO_TURN:
                break
        if fifo.broken:
            connection.complaints.append(f"driver {connection.peer:#x}, its FIFO: {fifo.broken}")
            connection.fifo = None
            await fifo.close(ffa)
        elif full:
            await self._delivery.notify(connection, fifo.notification, ffa)

    async def _take(self, ffa: Ffa) -> None:
        """Keep the message that is in RX, if one is."""
        if ffa.vcpu.secure:
            told = any(each.fifo is not None for each in self.connections.values())
            _, _, framework = await ffa.notification_get(FRAMEWORK | (OTHERS if told else 0))
            self._full = bool(framework & RX_FULL)
        if self._full:
            self._full = False
            self._inbox.append(await ffa.receive())

    async def _make_room(self, ffa: Ffa) -> None:
        await self._take(ffa)
        if not ffa.vcpu.secure:
            await ffa.yield_()

    async def _serve(self, message: Message, ffa: Ffa) -> None:
        """Serve an indirect message, unless its sender does not read what is answered."""
        connection = self._connection(message.sender, ffa)
        await self._delivery.send_outbox(connection, ffa)
        if len(connection.outbox) < OUTBOX:
            await self._answer(connection, message.payload, ffa)

    async def _answer(
        self, connection: Connection, data: bytes, ffa: Ffa, *, by_fifo: bool = False
    ) -> None:
        """Serve a message that is no direct one; what sets a bus up is none by FIFO."""
        if by_fifo and data[0] & BUS and data[1] in BOOTSTRAP:
            response: bytes | None = connection.refuse(parse_header(data))
        else:
            response = await self._wire.indirect(connection, data, ffa)
        if response is None:
            connection.unanswered.append(data)
        elif connection.outbox and response:
            connection.outbox.append(response)  # in order
        elif not response or await self._delivery.send(connection, response, ffa):
            pass
        elif response[0] & RESPONSE:
            connection.outbox.append(response)
        else:
            connection.put_back()  # an event, as the answer to EVENT_POLL

    async def tell(self, ffa: Ffa) -> None:
        """Look after the devices, and send every driver side its events."""
        await self._do_work(ffa)
        if self._orphaned:
            await self._clear_up(ffa)
        for connection in list(self.connections.values()):
            connection.look()
            if connection.unfinished:
                await connection.go_on(ffa)
            unanswered = list(connection.unanswered)
            connection.unanswered.clear()
            for data in unanswered:
                await self._answer(connection, data, ffa)
            waits = connection.events or connection.outbox or connection.complaints
            if waits or self._delivery.said:
                await self._delivery.tell(connection, ffa)

    async def _do_work(self, ffa: Ffa) -> None:
        """Make the calls that devices want made; what is added on the way is for now, too."""
        while self._work:
            device, work = self._work.popleft()
            await work(ffa, self._table.driver_of(device))

    async def _tell_others(self, connection: Connection, ffa: Ffa) -> None:
        """What one driver side asks for may be an event of another: a frame that it sends."""
        for peer, other in list(self._eventful.items()):
            if other is not connection:
                await self._delivery.tell(other, ffa)
            if not other.events or other.announced or other.method is Method.POLL:
                del self._eventful[peer]

    def say(self, line: str) -> None:
        """Print a line on this partition's console when it runs next."""
        self._delivery.said.append(line)
