"""How a device side tells its driver sides what is no answer to a direct message.

Indirect messages go to RX, which holds one; a FIFO has some slots. What finds no room waits at the
connection: responses in its outbox, in order, events as the state that they are.

Nobody tells a sender that RX is free again. So it gives cycles back (FFA_YIELD), by which whoever
runs it knows that it wants to be run again, and tries once more. A driver side that only asks, and
reads what comes, gets an event with its next request at the latest; responses come first in a
run, and an event is sent in place of none.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from ffabric.abi.ffa import notifications
from ffabric.abi.ffa.status import Status
from ffabric.abi.virtio_msg.ffa import Method
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio_msg.device.ffa_bus import Connection
from ffabric.guests.virtio_msg.device.wire import wire_of
from ffabric.guests.virtio_msg.driver.fifo_link import BOOTSTRAP

SENDS: Final = 16
"""How often an indirect message is tried while the receiver's RX is full."""
_TO_THE_DEAF: Final = 2
"""How often it is tried if the last message was never taken, and nothing has arrived since."""


class Delivery:
    """Of one device side, whose indirect messages are addressed to the service `answers_to`."""

    def __init__(self, answers_to: UUID) -> None:
        self.answers_to = answers_to
        self.said: list[str] = []
        """Lines for the console."""
        self.gave_way: bool = False
        """Others have run meanwhile, and may have sent something."""

    async def send_outbox(self, connection: Connection, ffa: Ffa) -> None:
        """Responses for which the driver side had no room."""
        while connection.outbox and await self.send(connection, connection.outbox[0], ffa):
            connection.outbox.popleft()

    async def send(self, connection: Connection, data: bytes, ffa: Ffa) -> bool:
        """Send a message, by its FIFO if it has one, else indirectly.

        The receiver gets time to read the indirect message before; whoever has not read in so many
        tries gets less of it, so that it delays nobody else.
        """
        fifo = connection.fifo
        if fifo is not None and data[1] not in BOOTSTRAP:
            return fifo.put(data) and await self.notify(connection, fifo.notification, ffa)
        left = _TO_THE_DEAF if connection.deaf else SENDS
        while True:
            try:
                await ffa.send2(connection.peer, data, uuid=self.answers_to)
            except FfaError as error:
                if error.status is not Status.BUSY:
                    return False
                left -= 1
                if not left:
                    connection.deaf = True
                    return False
                self.gave_way = True
                await ffa.yield_()
            else:
                connection.deaf = False
                return True

    async def tell(self, connection: Connection, ffa: Ffa) -> None:
        """Tell a driver side of what waits for it: by a notification, or by messages."""
        await self.complain(connection, ffa)
        if connection.method is Method.POLL:
            return
        if connection.method is Method.FIFO and connection.fifo is None:
            return  # it is broken: the driver side begins anew
        if connection.method in (Method.INDIRECT, Method.FIFO):
            await self.send_outbox(connection, ffa)
            while not connection.outbox and (event := connection.take_event()) is not None:
                sent = wire_of(connection.generation).event(event, connection)
                if sent and not await self.send(connection, sent, ffa):
                    connection.put_back()
                    break
        elif connection.events and not connection.announced:
            connection.announced = True
            await self.notify(connection, connection.notification, ffa)

    async def notify(self, connection: Connection, notification: int, ffa: Ffa) -> bool:
        """Tell a driver side that something waits for it. It polls if it has not bound it."""
        flags = notifications.DELAY_SCHEDULE_RECEIVER if ffa.vcpu.secure else 0
        try:
            await ffa.notification_set(connection.peer, 1 << notification, flags)
        except FfaError:
            connection.announced = False
        return True

    async def complain(self, connection: Connection, ffa: Ffa) -> None:
        """Say on the console what is to be said."""
        while self.said:
            await ffa.console_log(f"{self.said.pop(0)}\n")
        while connection.complaints:
            await ffa.console_log(f"{connection.complaints.pop(0)}\n")
