"""A vhost-user front end: what it takes to let a process outside serve virtqueues of the machine.

The process gets the memory that a region names, as a file with an offset and a size, under the
addresses that descriptors have; it is told of work by one eventfd and tells of it by another. Every
message that may have an answer is answered at once, so that nothing here waits for long.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from msgspec import Struct

from ffabric.abi import vhost_user as abi
from ffabric.abi.errors import DecodeError
from ffabric.abi.vhost_user import Request

PATIENCE: Final = 10.0
"""Seconds that an answer may take."""
_PAUSE = 0.001
PROTOCOL: Final = (
    abi.PROTOCOL_MQ
    | abi.PROTOCOL_REPLY_ACK
    | abi.PROTOCOL_CONFIG
    | abi.PROTOCOL_CONFIGURE_MEM_SLOTS
)
NEEDED: Final = abi.PROTOCOL_REPLY_ACK | abi.PROTOCOL_CONFIG | abi.PROTOCOL_CONFIGURE_MEM_SLOTS


class BackEndLost(Exception):  # noqa: N818 - what happened
    """The process does not answer, or has ended."""


class Region(Struct, frozen=True):
    """`size` bytes of the file ``fd`` from `offset` on, which descriptors name by `address` on."""

    address: int
    size: int
    fd: int
    offset: int


class FrontEnd:
    """A connection to a back end, which closes with it. Raises BackEndLost, as all methods do.

    `features` are the back end's; `call` is the eventfd by which it says that it has done
    something, `slots` how many regions it takes.
    """

    def __init__(self, connection: socket.socket, name: str) -> None:
        self.name = name
        self.regions: list[Region] = []
        self.lost = ""
        """Why it is not there any more."""
        self._socket = connection
        self._socket.settimeout(PATIENCE)
        self._kicks: dict[int, int] = {}
        self.call = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.features = self._number(Request.GET_FEATURES)
        if not self.features & abi.F_PROTOCOL_FEATURES:
            raise self._gone("it has no protocol features")
        protocol = self._number(Request.GET_PROTOCOL_FEATURES)
        if protocol & NEEDED != NEEDED:
            raise self._gone(f"its protocol features {protocol:#x} lack some of {NEEDED:#x}")
        self._send(Request.SET_PROTOCOL_FEATURES, abi.U64.pack(protocol & PROTOCOL))
        self._send(Request.SET_OWNER)
        self.slots = self._number(Request.GET_MAX_MEM_SLOTS)

    def fileno(self) -> int:
        """The socket: it can be read when the back end is gone."""
        return self._socket.fileno()

    def config(self, size: int) -> bytes:
        """The first `size` bytes of the device's configuration."""
        self._send(Request.GET_CONFIG, abi.CONFIG.pack(0, size, 0) + bytes(size))
        payload = self._reply(Request.GET_CONFIG)
        if len(payload) != abi.CONFIG.size + size:
            raise self._gone(f"a configuration of {len(payload)} bytes")
        return payload[abi.CONFIG.size :]

    def choose(self, features: int) -> None:
        """Of the back end's features, use these."""
        chosen = features & self.features | abi.F_PROTOCOL_FEATURES
        self._acknowledged(Request.SET_FEATURES, abi.U64.pack(chosen))

    def add(self, region: Region) -> None:
        """Let the back end reach a region."""
        if len(self.regions) >= self.slots:
            raise ValueError(f"{self.name} takes {self.slots} regions")
        payload = abi.build_region(region.address, region.size, region.offset)
        self._acknowledged(Request.ADD_MEM_REG, payload, region.fd)
        self.regions.append(region)

    def remove(self, region: Region) -> None:
        """Take a region away from the back end."""
        self.regions.remove(region)
        payload = abi.build_region(region.address, region.size, region.offset)
        self._acknowledged(Request.REM_MEM_REG, payload)

    def start(self, index: int, size: int, *, desc: int, avail: int, used: int) -> None:
        """Let the back end serve a virtqueue from its beginning; addresses are those of regions."""
        kick = self._kicks[index] = os.eventfd(0, os.EFD_CLOEXEC)
        self._send(Request.SET_VRING_NUM, abi.VRING_STATE.pack(index, size))
        self._send(Request.SET_VRING_BASE, abi.VRING_STATE.pack(index, 0))
        address = abi.VRING_ADDR.pack(index, 0, desc, used, avail, 0)
        self._acknowledged(Request.SET_VRING_ADDR, address)
        self._send(Request.SET_VRING_KICK, abi.U64.pack(index), kick)
        self._send(Request.SET_VRING_CALL, abi.U64.pack(index), self.call)
        self._acknowledged(Request.SET_VRING_ENABLE, abi.VRING_STATE.pack(index, 1))

    def stop(self, index: int, idle: Callable[[], bool]) -> None:
        """Have a virtqueue back once it is ``idle``: nothing that the back end has begun is left.

        That is waited for before the back end is told. Told too early, qemu-storage-daemon answers
        all the same, and dies when it has finished something: the queue's eventfds are closed then.
        """
        kick = self._kicks.pop(index, None)
        if kick is None:
            return
        os.close(kick)
        patience = PATIENCE
        while not idle() and self.look():
            if patience <= 0:
                raise self._gone("it does not finish what it has begun")
            select.select([self._socket], [], [], _PAUSE)
            patience -= _PAUSE
        if not self.lost:
            self._send(Request.GET_VRING_BASE, abi.VRING_STATE.pack(index, 0))
            self._reply(Request.GET_VRING_BASE)

    def kick(self, index: int) -> None:
        """There is work in a virtqueue."""
        os.eventfd_write(self._kicks[index], 1)

    def called(self) -> bool:
        """Whether the back end has said that it has done something since this was asked last."""
        with suppress(BlockingIOError):
            return os.eventfd_read(self.call) > 0
        return False

    def look(self) -> bool:
        """Whether the back end is there."""
        if not self.lost:
            self._socket.settimeout(0)
            try:
                if not self._socket.recv(1, socket.MSG_PEEK):
                    self._gone("it has closed its connection")
            except BlockingIOError:
                pass
            except OSError as error:
                self._gone(str(error))
            self._socket.settimeout(PATIENCE)
        return not self.lost

    def close(self) -> None:
        """Let go of everything. May be called twice."""
        self._gone("closed")
        for fd in [*self._kicks.values(), self.call]:
            with suppress(OSError):
                os.close(fd)
        self._kicks.clear()
        self._socket.close()

    # Messages.

    def _gone(self, why: str) -> BackEndLost:
        self.lost = self.lost or f"{self.name}: {why}"
        return BackEndLost(self.lost)

    def _send(
        self, request: Request, payload: bytes = b"", fd: int = -1, *, need_reply: bool = False
    ) -> None:
        if self.lost:
            raise BackEndLost(self.lost)
        message = abi.build(request, payload, need_reply=need_reply)
        try:
            socket.send_fds(self._socket, [message], [] if fd < 0 else [fd])
        except OSError as error:
            raise self._gone(f"{request.name}: {error}") from error

    def _acknowledged(self, request: Request, payload: bytes, fd: int = -1) -> None:
        self._send(request, payload, fd, need_reply=True)
        answer = self._parse_u64(self._reply(request))
        if answer:
            raise self._gone(f"{request.name} was refused: {answer}")

    def _number(self, request: Request) -> int:
        self._send(request)
        return self._parse_u64(self._reply(request))

    def _reply(self, request: Request) -> bytes:
        try:
            header = abi.parse_header(self._receive(abi.HEADER.size))
        except DecodeError as error:
            raise self._gone(str(error)) from error
        payload = self._receive(header.size)
        if header.request != request:
            raise self._gone(f"{request.name} was answered with {header.request}")
        return payload

    def _parse_u64(self, payload: bytes) -> int:
        try:
            return abi.parse_u64(payload)
        except DecodeError as error:
            raise self._gone(str(error)) from error

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                part = self._socket.recv(size - len(data))
            except OSError as error:
                raise self._gone(str(error)) from error
            if not part:
                raise self._gone("it has closed its connection")
            data += part
        return data
