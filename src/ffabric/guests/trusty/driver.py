"""Trusty's IPC in a VM: the driver, and files as /dev/trusty-ipc-dev0 gives them to programs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from ffabric.abi import tipc as abi
from ffabric.abi.errors import DecodeError
from ffabric.abi.tipc import ConnRsp, Control, Message, Shared
from ffabric.abi.virtio import ids
from ffabric.abi.words import pages_for
from ffabric.guests.trusty.memory import Buffer
from ffabric.guests.virtio.driver import Driver
from ffabric.guests.virtio.receive import ReceiveBuffers
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus

RECEIVE_BUFFERS: Final = 16
BUFFER: Final = 4096


class TipcError(OSError):
    """A connection cannot be made, or is broken."""

    __module__ = "ffabric.trusty"


class TipcDriver(Driver):
    """The driver; `name` is the device's. `open` gives a file."""

    id = ids.TIPC
    queue_count = 2
    queue_size = 32
    name: str = ""

    async def start(self) -> None:
        """Offer buffers, and wait until the device is ready."""
        config = await self.device.read_config(0, abi.CONFIG_SIZE)
        *_, name = abi.CONFIG.at().unpack(config)
        self.name = name.partition(b"\0")[0].decode("ascii", "backslashreplace")
        self.online: bool = False
        self.files: dict[int, TipcFile] = {}
        self.buffers: dict[int, Buffer] = {}
        """Memory that was sent and not released, by handle."""
        self._tag = 0
        self._receive = ReceiveBuffers(self, abi.RECEIVE, RECEIVE_BUFFERS, BUFFER)
        await self._receive.open()
        self._transmit = await self.allocate(BUFFER)
        await self.until(lambda: self.online)

    def open(self) -> TipcFile:
        """Open a file; it is not connected yet."""
        number = next(at for at in range(abi.FIRST_CLIENT, 1 << 32) if at not in self.files)
        file = self.files[number] = TipcFile(self, number)
        return file

    async def share(self, size: int, *, lend: bool = False) -> Buffer:
        """New memory of ``size`` bytes for messages, all zero: shared, or lent.

        ValueError on a bus other than FF-A, because the memory is shared by FF-A.
        """
        bus = getattr(self.device, "bus", None)
        if not isinstance(bus, DriverBus):
            raise ValueError(f"{self.device} is not behind FF-A: no memory is shared with it")  # noqa: TRY004
        ffa, pages = bus.ffa, pages_for(size)
        ipa = ffa.ram.allocate(pages)
        self._tag += 1
        send = ffa.lend if lend else ffa.share
        handle = await send(bus.peer, ipa=ipa, pages=pages, tag=self._tag)
        return Buffer(ffa, ipa, pages, Shared(handle, size, self._tag))

    async def remove(self) -> None:
        """The device is gone: files that are open are disconnected."""
        await super().remove()
        for file in self.files.values():
            file.remote = 0

    async def until(self, condition: Callable[[], bool]) -> None:
        """Take messages until a condition holds."""
        while not condition():
            self._dispatch(await self._receive.get())

    async def send(self, message: Message) -> None:
        """Send a message."""
        data = abi.build(message)
        self.device.memory.write(self._transmit.ipa, data)
        await self.request(abi.TRANSMIT, [(self._transmit.address, len(data), False)])

    def _dispatch(self, data: bytes) -> None:
        try:
            message = abi.parse(data)
            if message.dst == abi.CONTROL:
                self._control(message)
                return
        except DecodeError:
            return
        file = self.files.get(message.dst)
        if file is not None and file.remote == message.src:
            file.inbox.append(message.data)

    def _control(self, message: Message) -> None:
        kind, body = abi.parse_control(message.data)
        if kind is Control.GO_ONLINE:
            self.online = True
        elif kind is Control.GO_OFFLINE:
            self.online = False
            for file in self.files.values():
                file.remote = 0
        elif kind is Control.CONN_RSP:
            answer = abi.parse_conn_rsp(body)
            if answer.target in self.files:
                self.files[answer.target].answer = answer
        elif kind is Control.RELEASE:
            buffer = self.buffers.pop(abi.parse_release(body), None)
            if buffer is not None:
                buffer.released = True
        elif kind is Control.DISC_REQ:
            target = self.files.get(abi.parse_disc_req(body))
            if target is not None:
                target.remote = 0


class TipcFile:
    """A file of the device: connect it, then write messages to it and read messages from it."""

    def __init__(self, driver: TipcDriver, local: int) -> None:
        self.local = local
        self.remote: int = 0
        """The other side's address; 0: it is not connected."""
        self.inbox: deque[bytes] = deque()
        self.answer: ConnRsp | None = None
        self._driver = driver

    async def connect(self, port: str) -> None:
        """TIPC_IOC_CONNECT: connect to the service with a port. Raises TipcError."""
        if self.remote:
            raise TipcError("the file is connected")
        self.answer = None
        await self._driver.send(Message(self.local, abi.CONTROL, abi.build_conn_req(port)))
        await self._driver.until(lambda: self.answer is not None)
        assert self.answer is not None
        if self.answer.status:
            raise TipcError(f"{port}: status {self.answer.status}")
        self.remote = self.answer.remote

    async def write(self, data: bytes) -> None:
        """Send a message. Raises TipcError if the file is not connected, or it is too long."""
        await self.send_msg(data)

    async def send_msg(self, data: bytes, memory: Sequence[Buffer] = ()) -> None:
        """TIPC_IOC_SEND_MSG: send a message, and memory with it.

        A buffer is sent once; `released` waits until the service has closed it. Raises TipcError as
        `write` does.
        """
        if not self.remote:
            raise TipcError("the file is not connected")
        if len(data) > abi.MAX_MESSAGE:
            raise TipcError(f"{len(data)} bytes; a message has at most {abi.MAX_MESSAGE}")
        if len(memory) > abi.MAX_SHARED or any(each.sent for each in memory):
            raise TipcError(f"at most {abi.MAX_SHARED} pieces of memory go, each once")
        shared = tuple(each.shared for each in memory)
        for each in memory:
            each.sent = True
            self._driver.buffers[each.shared.id] = each
        await self._driver.send(Message(self.local, self.remote, data, shared))

    async def released(self, buffer: Buffer) -> None:
        """Wait until the service has closed memory that was sent; then reclaim it."""
        await self._driver.until(lambda: buffer.released)
        await buffer.take_back()

    async def read(self) -> bytes:
        """Wait for the next message; nothing at the end of the connection."""
        await self._driver.until(lambda: bool(self.inbox) or not self.remote)
        return self.inbox.popleft() if self.inbox else b""

    async def close(self) -> None:
        """Disconnect, if it is connected; the file is gone."""
        if self.remote:
            body = abi.build_disc_req(self.remote)
            await self._driver.send(Message(self.local, abi.CONTROL, body))
        self.remote = 0
        del self._driver.files[self.local]

    def __repr__(self) -> str:
        peer = f"connected to {self.remote:#x}" if self.remote else "not connected"
        return f"<TipcFile {self.local:#x}, {peer}>"
