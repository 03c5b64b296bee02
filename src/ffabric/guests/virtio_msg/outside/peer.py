"""A peer of the socket bus: agreement by HELLO, then messages both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final, Protocol

from ffabric.abi.errors import DecodeError
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg import socket as abi
from ffabric.abi.virtio_msg.generations import GENERATIONS, Generation
from ffabric.abi.virtio_msg.header import (
    BUS,
    EVENT,
    HEADER_SIZE,
    RESPONSE,
    Header,
    parse_header,
    with_token,
)
from ffabric.abi.virtio_msg.message import Message, build, parse
from ffabric.abi.virtio_msg.socket import Role
from ffabric.machine.host.message_socket import MessageSocket

OPEN: Final = 256
"""Requests to a peer that may be open: who has not answered so many is lost."""
_HELLO_SIZE: Final = HEADER_SIZE + abi.HELLO.request.record(1).size
_NAMES: Final = {Role.DEVICE: "a device side", Role.DRIVER: "a driver side"}
Done = Callable[[bytes], object]


class Owner(Protocol):
    """Who has to do with a peer."""

    def greeted(self, peer: Peer) -> None:
        """It has said HELLO."""

    def asked(self, peer: Peer, message: Message, data: bytes) -> None:
        """It has made a request that is not the bus's own."""

    def told(self, peer: Peer, message: Message, data: bytes) -> None:
        """It has sent an event."""


class Peer:
    """A connection. `agreed` is true after HELLO, `lost` says in a line why it is over."""

    def __init__(self, connection: MessageSocket, name: str, owner: Owner, mine: Hello) -> None:
        self.name = name
        self.agreed: bool = False
        self.max_size: int = mine.max_size
        """Bytes of the largest message of the transport, as both sides have it."""
        self.max_data: int = abi.MAX_DATA
        self.version: int = abi.OLDEST
        """Of the bus, as both sides have it."""
        self._socket = connection
        self._owner = owner
        self._mine = mine
        self._open: dict[int, tuple[float, Done]] = {}
        """By token: when it was asked, and what is to be done with the response."""
        self._token = 0
        connection.on_message = self._on_message
        connection.refuses = self._refuses

    @property
    def lost(self) -> str:
        """Why it is of no use any more, in one line."""
        why = self._socket.lost
        return f"the peer at {self.name}: {why}" if why else ""

    def judge(self, patience: float) -> None:
        """It is lost if it has not answered for so many seconds."""
        since = next(iter(self._open.values()), (monotonic(), _nobody))[0]
        if monotonic() - since > patience:
            self.lose(f"it has not answered for {patience:g} s")

    @property
    def waiting(self) -> bool:
        """Whether it has been asked something."""
        return bool(self._open)

    def fileno(self) -> int:
        """The socket."""
        return self._socket.fileno()

    def look(self) -> bool:
        """Take in what has come: whether it is there."""
        return self._socket.look()

    def wait(self, until: Callable[[], bool], seconds: float) -> bool:
        """Take in what comes until that is so: whether it is, in so many seconds."""
        return self._socket.wait(until, seconds)

    def lose(self, why: str) -> None:
        """End the connection."""
        self._socket.lose(why)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    @property
    def maps(self) -> bool:
        """Whether it can map memory: its version has that, and the socket carries files."""
        return self.version > abi.OLDEST and self._socket.carries_files

    def send(self, message: bytes, files: Iterable[int] = ()) -> None:
        """Send a message as it is, and descriptors of files with it."""
        self._socket.send(message, files)

    def ask(self, message: bytes, done: Done) -> int:
        """Send a request with a token of this connection's own: the token.

        ``done`` gets the response.
        """
        if len(self._open) >= OPEN:
            self.lose(f"{OPEN} requests are not answered")
        self._token = self._token % 0xFFFF + 1
        while self._token in self._open:
            self._token = self._token % 0xFFFF + 1
        self._open[self._token] = (monotonic(), done)
        self._socket.send(with_token(message, self._token))
        return self._token

    def forget(self, token: int) -> None:
        """Nobody waits for the response to that token any more."""
        if token in self._open:
            self._open[token] = (self._open[token][0], _nobody)

    def answer(
        self, message: Message, files: Iterable[int] = (), /, device: int = 0, **fields: object
    ) -> None:
        """Answer a request of the peer, with descriptors of files if there are any."""
        self.send(
            build(
                message.kind,
                self._mine.generation,
                device=device,
                token=message.token,
                response=True,
                **fields,
            ),
            files,
        )

    def fail(self, header: Header) -> None:
        """A request cannot be done."""
        fields = {"device": header.device, "token": header.token, "msg_id": header.id}
        self.send(build(ffa.ERROR, self._mine.generation, response=True, **fields))

    def _refuses(self, header: Header) -> str:
        """The first message is HELLO: what is none is not waited for."""
        if self.agreed or (header.id == abi.HELLO.id and header.size <= _HELLO_SIZE):
            return ""
        return "its first message is not HELLO"

    def _on_message(self, data: bytes) -> None:
        header = parse_header(data)
        if not self.agreed and header.type != BUS:
            self.lose("its first message is not HELLO")
            return
        if header.type & RESPONSE:
            asked = self._open.pop(header.token, None)
            if asked is not None:
                asked[1](data)
            return
        try:
            message = parse(data, self._mine.generation)
        except DecodeError as error:
            if not self.agreed:
                self.lose(f"its HELLO: {error}")
            return  # what is malformed or unknown is discarded (pr28, error signalling)
        if message.kind is abi.HELLO:
            self._hello(message)
        elif header.id & EVENT:
            self._owner.told(self, message, data)
        elif message.kind is bus_abi.PING:
            self.answer(message, data=message["data"])
        else:
            self._owner.asked(self, message, data)

    def _hello(self, message: Message) -> None:
        mine = self._mine
        why = mine.refuses(message) or ("HELLO came twice" if self.agreed else "")
        if why:
            self.fail(Header(BUS, message.kind.id, 0, message.token, 0))
            self.lose(why)
            return
        self.agreed = True
        self.max_size = min(mine.max_size, message["max_size"])
        self.max_data = min(abi.MAX_DATA, message["max_data"])
        self.version = message["version"]
        self.answer(message, **mine.fields(self.version))
        self._owner.greeted(self)


def _nobody(_data: bytes) -> None:
    """A response that came too late."""


class Hello:
    """What this side says of itself, and whom it takes."""

    def __init__(self, role: Role, generation: Generation, max_size: int) -> None:
        self.role = role
        self.generation = generation
        self.max_size = max_size

    def fields(self, version: int) -> dict[str, int]:
        """The fields of HELLO, with the version that the peer has said."""
        return {
            "magic": abi.MAGIC,
            "version": version,
            "role": self.role,
            "generation": self.generation.number,
            "max_size": self.max_size,
            "max_data": abi.MAX_DATA,
        }

    def refuses(self, theirs: Message) -> str:
        """Why a peer is not taken, if it is not."""
        other = Role.DRIVER if self.role is Role.DEVICE else Role.DEVICE
        if theirs["magic"] != abi.MAGIC:
            return f"its HELLO begins with {theirs['magic']:#x} and not with {abi.MAGIC:#x}"
        if not abi.OLDEST <= theirs["version"] <= abi.VERSION:
            known = f"{abi.OLDEST} or {abi.VERSION}"
            return f"it speaks version {theirs['version']} of the socket bus, not {known}"
        if theirs["role"] != other:
            return f"it is not {_NAMES[other]}"
        if theirs["generation"] != self.generation.number:
            names = {each.number: each.name for each in GENERATIONS.values()}
            spoken = names.get(theirs["generation"], f"generation {theirs['generation']}")
            return f"it speaks {spoken}, and not {self.generation.name}"
        if theirs["max_size"] < self.generation.least or not theirs["max_data"]:
            return f"it takes no messages of {self.generation.least} bytes"
        return ""
