"""What Linux's driver side says to one device side: requests with their responses, and events."""

from __future__ import annotations

from ffabric.guests.ffa import Ffa
from ffabric.lab.virtio_msg.linux import carrier, wire
from ffabric.lab.virtio_msg.linux.wire import Kind, LinuxError


class Requests:
    """Requests and events to the device side `peer`, in a wire form, by a carrier."""

    def __init__(self, ffa: Ffa, peer: int, form: wire.Form, way: carrier.Carrier) -> None:
        self.ffa, self.peer, self.form, self.carrier = ffa, peer, form, way
        self.log: list[str] = []
        """The messages that were sent, in order."""
        self._token = 2

    def new_token(self) -> int:
        """The token of the next request: even, and never 0."""
        token, self._token = self._token, self._token % 0xFFFE + 2
        return token

    async def request(
        self, kind: Kind, device: int, *values: object, more: bytes = b"", tail: int | None = 0
    ) -> tuple[tuple[int, ...], bytes]:
        """A request: the fields of its response, and the ``tail`` bytes behind (None: any)."""
        sent = wire.build(kind, device, self.new_token(), *values, more=more)
        self.log.append(kind.name)
        got = wire.parse(await self.carrier.request(sent), kind.name)
        fields = wire.check_response(kind, sent, got, tail)
        layout = kind.response
        return fields, got.payload[layout.size if layout else 0 :]

    async def event(self, kind: Kind, device: int, *values: object) -> None:
        """An event."""
        self.log.append(kind.name)
        await self.carrier.event(wire.build(kind, device, 0, *values))

    async def expect_ok(self, kind: Kind, *values: object) -> None:
        """A request whose response ends with a result that is to be 0."""
        fields, _ = await self.request(kind, 0, *values)
        if fields[-1] != wire.OK:
            number = wire.EBUSY if fields[-1] == wire.BUSY else wire.EIO
            raise LinuxError(number, f"{kind.name}: result {fields[-1]}")
