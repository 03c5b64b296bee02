"""A driver for network interfaces (virtio 1.3, 5.1)."""

from __future__ import annotations

from typing import Final

from ffabric.abi.virtio import ids
from ffabric.abi.virtio import network as abi
from ffabric.guests.virtio.driver import Driver
from ffabric.guests.virtio.receive import ReceiveBuffers

RECEIVE_BUFFERS: Final = 16


class NetworkDriver(Driver):
    """An interface with the address `mac`, six bytes, whose frames carry up to `mtu` bytes."""

    id = ids.NETWORK
    features = abi.F_MAC | abi.F_STATUS | abi.F_MTU
    queue_count = 2
    queue_size = 32
    mac: bytes = b""
    mtu: int = 0
    up: bool = False

    async def start(self) -> None:
        """Read the configuration; offer buffers for what comes."""
        await self.read_link()
        size = abi.HEADER_SIZE + abi.ETHERNET_HEADER + self.mtu
        self._receive = ReceiveBuffers(self, abi.RECEIVE, RECEIVE_BUFFERS, size)
        await self._receive.open()
        self._transmit = await self.allocate(size)

    async def read_link(self) -> bool:
        """Whether the link is up, as it is now."""
        config = abi.CONFIG.at().unpack(await self.device.read_config(0, abi.CONFIG_SIZE))
        self.mac, status, _, self.mtu = config
        self.up = bool(status & abi.LINK_UP)
        return self.up

    async def send(self, to: bytes, kind: int, payload: bytes) -> None:
        """Send a frame of EtherType ``kind`` to an address. ValueError if it is too long."""
        if len(payload) > self.mtu:
            raise ValueError(f"{len(payload)} bytes; the MTU is {self.mtu}")
        data = abi.NO_OFFLOADS + to + self.mac + kind.to_bytes(2, "big") + payload
        self.device.memory.write(self._transmit.ipa, data)
        await self.request(abi.TRANSMIT, [(self._transmit.address, len(data), False)])

    async def receive(self) -> tuple[bytes, int, bytes]:
        """The next frame, waiting for it: who sent it, EtherType, payload."""
        size = abi.MAC_SIZE
        while True:
            frame = (await self._receive.get())[abi.HEADER_SIZE :]
            if len(frame) >= abi.ETHERNET_HEADER:
                kind = int.from_bytes(frame[2 * size : abi.ETHERNET_HEADER], "big")
                return frame[size : 2 * size], kind, frame[abi.ETHERNET_HEADER :]
