"""A vhost-user front end: what it takes to let a process outside serve virtqueues of the machine.

The process gets the memory that a region names, as a file with an offset and a size, under the
addresses that descriptors have; it is told of work by one eventfd and tells of it by another. Every
protocol feature is optional (vhost-user.rst). Without CONFIGURE_MEM_SLOTS regions go as a table;
without REPLY_ACK a question is asked after what is to be confirmed, as messages are handled in
order; without F_PROTOCOL_FEATURES virtqueues are enabled when they are kicked first.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final

from msgspec import Struct

from ffabric.abi import vhost_user as abi
from ffabric.abi.errors import DecodeError
from ffabric.abi.vhost_user import Request
from ffabric.machine.host.vhost_user.channel import PATIENCE, BackEndLost, Channel

PROTOCOL: Final = (
    abi.PROTOCOL_MQ
    | abi.PROTOCOL_REPLY_ACK
    | abi.PROTOCOL_CONFIG
    | abi.PROTOCOL_CONFIGURE_MEM_SLOTS
)
"""What we can use, if the back end can."""


class Region(Struct, frozen=True):
    """`size` bytes of the file ``fd`` from `offset` on, which descriptors name by `address` on."""

    address: int
    size: int
    fd: int
    offset: int


class _Queue(Struct):
    """A virtqueue that the back end serves: the eventfd of its kicks, and when it was kicked."""

    kick: int
    first: float = 0.0
    """Since when it is not known that the back end takes kicks; 0: it does."""
    last: float = 0.0


def _nothing(*_: object) -> None:
    """For what has no consequence."""


class FrontEnd:
    """A connection to a back end, which closes with it.

    `features` and `protocol` are the back end's, `queues` how many virtqueues it has (None: it does
    not say), `slots` how many regions it takes. `call` is the eventfd by which it says that it has
    done something, `errors` that by which it complains of a virtqueue. It has `patience` seconds
    for an answer. Raises BackEndLost if it does not get on with us, as all methods do that tell it
    something; none of them waits, but `config`.
    """

    def __init__(self, connection: socket.socket, name: str, *, patience: float = PATIENCE) -> None:
        self.name = name
        self.features: int = 0
        self.protocol: int = 0
        self.queues: int | None = None
        self.slots: int = abi.BASELINE_REGIONS
        self.regions: list[Region] = []
        self.channel: Channel = Channel(connection, name, patience)
        self._queues: dict[int, _Queue] = {}
        self._kept: list[Callable[[], object]] = []
        self.call: int = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.errors: int = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._watched = select.poll()
        """What says that something has come that nobody has asked for."""
        for fd in (self.channel, self.errors):
            self._watched.register(fd, select.POLLIN)
        try:
            self.channel.ask(Request.GET_FEATURES, done=self._meet)
            self.channel.complete()
        except BaseException:
            self.close()
            raise

    def _meet(self, payload: bytes) -> None:
        self.features = self._parse_u64(payload)
        if self.features & abi.F_PROTOCOL_FEATURES:
            self.channel.ask(Request.GET_PROTOCOL_FEATURES, done=self._negotiate)
        else:
            self.channel.send(Request.SET_OWNER)

    def _negotiate(self, payload: bytes) -> None:
        channel = self.channel
        self.protocol = self._parse_u64(payload) & PROTOCOL
        channel.send(Request.SET_PROTOCOL_FEATURES, abi.U64.pack(self.protocol))
        channel.send(Request.SET_OWNER)
        if self.protocol & abi.PROTOCOL_MQ:
            channel.ask(Request.GET_QUEUE_NUM, done=self._count_queues)
        if self.protocol & abi.PROTOCOL_CONFIGURE_MEM_SLOTS:
            channel.ask(Request.GET_MAX_MEM_SLOTS, done=self._count_slots)

    def _count_queues(self, payload: bytes) -> None:
        self.queues = self._parse_u64(payload)

    def _count_slots(self, payload: bytes) -> None:
        self.slots = self._parse_u64(payload)

    @property
    def lost(self) -> str:
        """Why it is not there any more."""
        return self.channel.lost

    @property
    def gone(self) -> bool:
        """Whether it has provably let go of all memory: it has closed its end."""
        return self.channel.gone

    def fileno(self) -> int:
        """The socket: it can be read when there is an answer, or the back end is gone."""
        return self.channel.fileno()

    # The device.

    def config(self, size: int) -> bytes:
        """The first `size` bytes of the device's configuration, waiting for them.

        ValueError if the back end has none (`protocol` lacks CONFIG).
        """
        if not self.protocol & abi.PROTOCOL_CONFIG:
            raise ValueError(f"{self.name} does not say what the configuration is")
        found: list[bytes] = []
        question = abi.CONFIG.pack(0, size, 0) + bytes(size)
        self.channel.ask(Request.GET_CONFIG, question, done=found.append)
        self.channel.complete()
        if len(found[0]) != abi.CONFIG.size + size:
            raise self.channel.lose(f"a configuration of {len(found[0])} bytes, not {size}")
        return found[0][abi.CONFIG.size :]

    def write_config(self, offset: int, data: bytes) -> None:
        """Write a part of the configuration. ValueError as for `config`."""
        if not self.protocol & abi.PROTOCOL_CONFIG:
            raise ValueError(f"{self.name} takes no configuration")
        self._confirmed(Request.SET_CONFIG, abi.CONFIG.pack(offset, len(data), 0) + data)

    def choose(self, features: int) -> None:
        """Of the back end's features, use these."""
        chosen = features & self.features | self.features & abi.F_PROTOCOL_FEATURES
        self._confirmed(Request.SET_FEATURES, abi.U64.pack(chosen))

    # Memory.

    @property
    def room(self) -> int:
        """How many regions more it takes."""
        return self.slots - len(self.regions)

    def add(self, region: Region, done: Callable[[], object] = _nothing) -> None:
        """Let the back end reach a region; ``done`` is called when it does.

        ValueError if it takes no more.
        """
        if self.room <= 0:
            raise ValueError(f"{self.name} takes {self.slots} regions")
        self.regions.append(region)
        self.regions.sort(key=lambda each: each.address)
        if self.protocol & abi.PROTOCOL_CONFIGURE_MEM_SLOTS:
            payload = abi.build_region(region.address, region.size, region.offset)
            self._confirmed(Request.ADD_MEM_REG, payload, (region.fd,), done=done)
        else:
            self._send_table(done)

    def remove(self, region: Region, done: Callable[[], object] = _nothing) -> None:
        """Take a region away from the back end; ``done`` is called when it cannot reach it."""
        self.regions.remove(region)
        if self.protocol & abi.PROTOCOL_CONFIGURE_MEM_SLOTS:
            payload = abi.build_region(region.address, region.size, region.offset)
            self._confirmed(Request.REM_MEM_REG, payload, done=done)
        else:
            self._send_table(done)

    def _send_table(self, done: Callable[[], object]) -> None:
        table = [(each.address, each.size, each.offset) for each in self.regions]
        fds = tuple(each.fd for each in self.regions)
        self._confirmed(Request.SET_MEM_TABLE, abi.build_table(table), fds, done=done)

    # Virtqueues.

    def start(
        self,
        index: int,
        size: int,
        *,
        desc: int,
        avail: int,
        used: int,
        done: Callable[[], object] = _nothing,
    ) -> None:
        """Let the back end serve a virtqueue from its beginning; addresses are those of regions.

        ``done`` is called when it does: kicks before that may be taken and forgotten.
        """
        self._forget(index)
        kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._queues[index] = _Queue(kick)
        send, number = self.channel.send, abi.U64.pack(index)
        send(Request.SET_VRING_NUM, abi.VRING_STATE.pack(index, size))
        send(Request.SET_VRING_BASE, abi.VRING_STATE.pack(index, 0))
        address = abi.VRING_ADDR.pack(index, 0, desc, used, avail, 0)
        self._confirmed(Request.SET_VRING_ADDR, address)
        send(Request.SET_VRING_ERR, number, (self.errors,))
        send(Request.SET_VRING_KICK, number, (kick,))
        send(Request.SET_VRING_CALL, number, (self.call,))
        if self.features & abi.F_PROTOCOL_FEATURES:
            self._confirmed(Request.SET_VRING_ENABLE, abi.VRING_STATE.pack(index, 1), done=done)
        else:
            self.channel.ask(Request.GET_FEATURES, done=lambda _: done())

    def stop(self, index: int, done: Callable[[], object] = _nothing) -> None:
        """Have a virtqueue back; ``done`` is called when the back end has stopped.

        What it has begun should be finished before. Told too early, qemu-storage-daemon answers all
        the same, and dies when it has finished something: the eventfds are closed then.
        """
        self._forget(index)
        self.channel.ask(
            Request.GET_VRING_BASE, abi.VRING_STATE.pack(index, 0), done=lambda _: done()
        )

    def kick(self, index: int) -> None:
        """There is work in a virtqueue."""
        queue = self._queues[index]
        queue.last = monotonic()
        queue.first = queue.first or queue.last
        try:  # noqa: SIM105 - a context manager costs as much as the rest of it
            os.eventfd_write(queue.kick, 1)
        except BlockingIOError:
            pass  # it was kicked 2^64 times, and has not looked yet

    def called(self) -> bool:
        """Whether the back end has said that it has done something since this was asked last."""
        return _take(self.call)

    def look(self) -> bool:
        """Take in its answers: whether the back end is there, and takes its kicks."""
        channel = self.channel
        if not channel.idle or self._watched.poll(0):
            if not channel.look():
                return False
            if _take(self.errors):
                channel.lose("it complains of a virtqueue")
                return False
        since = monotonic() - channel.patience
        for index, queue in self._queues.items():
            if 0 < queue.first < since:
                self._judge(index, queue)
        return not channel.lost

    def _judge(self, index: int, queue: _Queue) -> None:
        """An eventfd that stays readable is not read: whoever should do that is dead."""
        poll = select.poll()
        poll.register(queue.kick, select.POLLIN)
        if not poll.poll(0):
            queue.first = 0.0
        elif monotonic() - queue.last > self.channel.patience:
            self.channel.lose(f"nobody serves virtqueue {index}: its kick is not taken")

    def keep(self, close: Callable[[], object]) -> None:
        """Call ``close`` when the connection is closed: it was for this back end."""
        self._kept.append(close)

    def close(self) -> None:
        """Let go of everything. May be called twice."""
        self.channel.close()
        while self._kept:
            self._kept.pop()()
        for index in list(self._queues):
            self._forget(index)
        for fd in (self.call, self.errors):
            with suppress(OSError):
                os.close(fd)
        self.call = self.errors = -1

    def _forget(self, index: int) -> None:
        queue = self._queues.pop(index, None)
        if queue is not None:
            os.close(queue.kick)

    # Messages.

    def _confirmed(
        self,
        request: Request,
        payload: bytes,
        fds: tuple[int, ...] = (),
        *,
        done: Callable[[], object] = _nothing,
    ) -> None:
        """Send what has no answer of its own; ``done`` is called when it has been handled."""

        def acknowledged(answer: bytes) -> None:
            if number := self._parse_u64(answer):
                raise self.channel.lose(f"{request.name} was refused: {number}")
            done()

        if self.protocol & abi.PROTOCOL_REPLY_ACK:
            self.channel.ask(request, payload, fds, done=acknowledged, need_reply=True)
        else:
            self.channel.send(request, payload, fds)
            self.channel.ask(Request.GET_FEATURES, done=lambda _: done())

    def _parse_u64(self, payload: bytes) -> int:
        try:
            return abi.parse_u64(payload)
        except DecodeError as error:
            raise self.channel.lose(str(error)) from error


def _take(eventfd: int) -> bool:
    with suppress(BlockingIOError):
        return os.eventfd_read(eventfd) > 0
    return False


__all__ = ["PATIENCE", "PROTOCOL", "BackEndLost", "FrontEnd", "Region"]
