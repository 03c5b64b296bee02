"""A network interface, and the network that several of them are on (virtio 1.3, 5.1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from ffabric.abi.virtio import ids
from ffabric.abi.virtio import network as abi
from ffabric.guests.virtio.device import Device

MAX_WAITING: Final = 256
"""Frames that wait for buffers of the driver; more are lost, as on any wire."""
FIRST_MAC: Final = 0x02_66_66_61_00_00
_GROUP = 1
"""Bit 0 of the first byte of an address: it is of several stations."""


class NetworkDevice(Device):
    """An interface with the address ``mac``: six bytes, the first of them even.

    ``on_frame`` gets each frame that the driver sends; `receive` has the driver get one. A frame is
    of Ethernet: destination, source, type, and up to `mtu` bytes.
    """

    id = ids.NETWORK
    features = abi.F_MAC | abi.F_STATUS | abi.F_MTU
    queue_sizes: Sequence[int] = (64, 64)

    def __init__(
        self,
        on_frame: Callable[[bytes], object] | None = None,
        *,
        mac: bytes = FIRST_MAC.to_bytes(abi.MAC_SIZE, "big"),
        mtu: int = 1500,
    ) -> None:
        super().__init__()
        if len(mac) != abi.MAC_SIZE or mac[0] & _GROUP:
            raise ValueError(f"{mac.hex(':')!r} is the address of no interface")
        if not abi.LEAST_MTU <= mtu <= abi.MOST_MTU:
            raise ValueError(f"an MTU is {abi.LEAST_MTU} to {abi.MOST_MTU}, not {mtu}")
        self.mac = mac
        self.mtu = mtu
        self.up: bool = True
        self.lost: int = 0
        """Frames for which there was no room, or that were too long or too short."""
        self.on_frame = on_frame
        self._waiting: deque[bytes] = deque()

    @property
    def config(self) -> bytes:
        """Address, whether the link is up, MTU."""
        return abi.CONFIG.at().pack(self.mac, abi.LINK_UP * self.up, 1, self.mtu)

    def plug(self, *, up: bool) -> None:
        """Plug the cable in, or pull it out; the driver is told."""
        self.up = up
        if self.host is not None:
            self.host.config_changed(abi.STATUS_OFFSET, 2)

    def receive(self, frame: bytes) -> None:
        """A frame has come: the driver gets it when it has room."""
        if not self._fits(frame) or not self.up or len(self._waiting) >= MAX_WAITING:
            self.lost += 1
            return
        self._waiting.append(frame)
        self.kick(abi.RECEIVE)

    def _fits(self, frame: bytes) -> bool:
        return abi.ETHERNET_HEADER <= len(frame) <= abi.ETHERNET_HEADER + self.mtu

    def stop(self) -> None:
        """The frames that have waited are lost."""
        self.lost += len(self._waiting)
        self._waiting.clear()

    def process(self, index: int) -> None:
        """Send what the driver sends, or fill what can be received into."""
        queue = self.queues[index]
        if queue is None:
            return
        if index == abi.TRANSMIT:
            most = abi.HEADER_SIZE + abi.ETHERNET_HEADER + self.mtu + 1
            for chain in queue.chains():
                frame = queue.read(chain, most=most)[abi.HEADER_SIZE :]
                queue.push(chain.head, 0)
                self._send(frame)
        else:
            while self._waiting and (chain_ := queue.pop()) is not None:
                data = abi.FRAME_FOLLOWS + self._waiting.popleft()
                whole = len(data) <= chain_.writable_size
                self.lost += not whole
                queue.push(chain_.head, queue.write(chain_, data) if whole else 0)
        self.signal(index)

    def _send(self, frame: bytes) -> None:
        if not self._fits(frame) or not self.up:
            self.lost += 1
        elif self.on_frame is not None:
            self.on_frame(frame)


class Network:
    """A switch: a frame goes to the interface that it is addressed to, or else to all others."""

    def __init__(self) -> None:
        self.interfaces: list[NetworkDevice] = []
        self.frames: int = 0
        """Frames so far."""

    def join(self, interface: NetworkDevice) -> None:
        """Have an interface on this network. ValueError if its address is there already."""
        if any(each.mac == interface.mac for each in self.interfaces):
            raise ValueError(f"two interfaces have the address {interface.mac.hex(':')}")
        self.interfaces.append(interface)
        interface.on_frame = lambda frame: self._pass_on(interface, frame)

    def interface(self, *, mtu: int = 1500) -> NetworkDevice:
        """A new interface on this network, with the next address."""
        mac = (FIRST_MAC + len(self.interfaces)).to_bytes(abi.MAC_SIZE, "big")
        device = NetworkDevice(mac=mac, mtu=mtu)
        self.join(device)
        return device

    def _pass_on(self, sender: NetworkDevice, frame: bytes) -> None:
        self.frames += 1
        to = frame[: abi.MAC_SIZE]
        others = [each for each in self.interfaces if each is not sender]
        for each in [other for other in others if other.mac == to] or others:
            each.receive(frame)

    def __repr__(self) -> str:
        return f"<Network: {len(self.interfaces)} interfaces>"
