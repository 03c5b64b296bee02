"""Trusted applications: a TA is a subclass of `TrustedApp`.

    class Counter(TrustedApp):
        uuid = "..."

        async def open_session(self, session, params):
            session.context = 0

        async def invoke(self, session, command, params):
            params.expect(Type.VALUE_INOUT)
            session.context += params[0].a
            params[0].a = session.context

What is wrong with a call is raised as a `TeeError`; any other exception is a panic of the TA.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from operator import index
from typing import TYPE_CHECKING, Any, ClassVar, Final
from uuid import UUID

from msgspec import Struct

from ffabric.abi.optee.message import INPUT, OUTPUT, Type
from ffabric.abi.optee.tee import NUM_PARAMS, Result
from ffabric.abi.words import MASK32, MASK64
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.storage.session import Objects
from ffabric.guests.optee.tas.services import OF_THE_TEE, Services

if TYPE_CHECKING:
    from ffabric.guests.optee.memory import Region
    from ffabric.guests.optee.tas.accelerator import Engine
    from ffabric.guests.optee.threads import Thread


class Enumerated(Enum):
    """Whether, and when, the normal world's kernel finds a TA as a device on its TEE bus."""

    NO = auto()
    AT_BOOT = auto()
    WITH_SUPPLICANT = auto()


class Identity(Struct, frozen=True):
    """Who opened a session: a `Login` and, for a login that has one, a UUID."""

    login: int
    uuid: UUID


_LOOK: Final = 50
"""Milliseconds after which a wait looks whether it is cancelled."""


class TaSession:
    """A session of a client with a TA.

    `context` belongs to the TA. `thread` makes remote procedure calls to the normal world, and
    `objects` is the TA's secure storage. `cancelled` says that the client has cancelled the present
    call; a wait then ends if the TA has set `cancellable`.
    """

    thread: Thread

    def __init__(self, number: int, client: Identity, ta: UUID, services: Services) -> None:
        self.id = number
        self.client = client
        self.ta = ta
        self.context: Any = None
        self.cancelled = False
        self.cancellable = False
        self.objects: Objects = Objects(services.storage, self, ta)
        self._services = services

    @property
    def properties(self) -> dict[str, Any]:
        """The properties of the TEE, the client and the TA, by name (chapter 4.4)."""
        return {
            **OF_THE_TEE,
            "gpd.tee.deviceID": self._services.device,
            "gpd.client.identity": self.client,
            "gpd.ta.appID": self.ta,
        }

    @property
    def accelerator(self) -> Engine:
        """The crypto accelerator that all VMs share. Raises TeeError (NOT_SUPPORTED)."""
        return self._services.engine(self.thread, self.ta)

    def random(self, size: int) -> bytes:
        """Random bytes (TEE_GenerateRandom)."""
        return self._services.generator.random(size)

    def system_time(self) -> int:
        """Milliseconds since an arbitrary moment (TEE_GetSystemTime)."""
        return self._services.system_time(self.thread)

    def persistent_time(self) -> int:
        """Milliseconds on the TA's persistent clock. Raises TeeError (TIME_NOT_SET)."""
        return self._services.persistent_time(self.thread, self.ta)

    def set_persistent_time(self, milliseconds: int) -> None:
        """Set the TA's persistent clock, for all its sessions."""
        self._services.set_persistent_time(self.thread, self.ta, milliseconds)

    async def wait(self, milliseconds: int) -> None:
        """Let time pass (TEE_Wait). Raises TeeError (CANCEL) if the call is `cancellable`."""
        end = self.system_time() + milliseconds
        while (left := end - self.system_time()) > 0:
            if self.cancelled and self.cancellable:
                raise TeeError(Result.CANCEL)
            await self.thread.sleep(min(left, _LOOK))

    def __repr__(self) -> str:
        return f"<TaSession {self.id:#x}>"


class TrustedApp:
    """A trusted application. Each object is one instance.

    A TA with `single_instance` serves all sessions of a VM with one object: several sessions at a
    time if it is `multi_session`, and kept after the last one closes if it is `keep_alive`. Any
    other TA has one object per session. Only one call at a time runs in an object, unless the TA
    is `concurrent`. An object takes `memory` bytes of its VM's share of OP-TEE's memory.
    """

    uuid: ClassVar[str | UUID]
    single_instance: ClassVar[bool] = False
    multi_session: ClassVar[bool] = False
    keep_alive: ClassVar[bool] = False
    concurrent: ClassVar[bool] = False
    memory: ClassVar[int] = 64 << 10
    enumerated: ClassVar[Enumerated] = Enumerated.NO

    async def open_session(self, session: TaSession, params: Params) -> None:
        """Accept a session, or raise TeeError."""

    async def invoke(self, session: TaSession, command: int, params: Params) -> None:
        """Carry out a command of the client. Raises TeeError."""
        raise TeeError(Result.NOT_SUPPORTED)

    async def close_session(self, session: TaSession) -> None:
        """The client has closed the session."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uuid}>"


class Value:
    """A parameter of two words of 32 bits; what the TA leaves in an output goes to the client."""

    __slots__ = ("_words", "type")

    def __init__(self, kind: int, a: int = 0, b: int = 0) -> None:
        self.type: int = kind
        self._words = [a, b]

    @property
    def a(self) -> int:
        """The first word."""
        return self._words[0]

    @a.setter
    def a(self, word: int) -> None:
        self._words[0] = index(word) & MASK32

    @property
    def b(self) -> int:
        """The second word."""
        return self._words[1]

    @b.setter
    def b(self, word: int) -> None:
        self._words[1] = index(word) & MASK32

    def __repr__(self) -> str:
        return f"<Value a={self.a:#x} b={self.b:#x}>"


class Memref:
    """A parameter that is memory of the client, which may change it at any time.

    `size` is the client's; what the TA sets in an output is the size that the client gets.
    """

    __slots__ = ("_at", "_capacity", "_region", "_size", "_thread", "type")

    def __init__(
        self, kind: int, thread: Thread, region: Region | None, at: int = 0, size: int = 0
    ) -> None:
        self.type: int = kind
        self._size = size
        self._thread = thread
        self._region = region
        self._at = at
        self._capacity = size

    @property
    def size(self) -> int:
        """The bytes that the client gave, then those that the TA says."""
        return self._size

    @size.setter
    def size(self, size: int) -> None:
        self._size = index(size) & MASK64

    @property
    def is_null(self) -> bool:
        """Whether it refers to no memory at all."""
        return self._region is None

    def read(self) -> bytes:
        """What is there now: judge what was read, for it may be different when it is read again.

        Raises TeeError (ACCESS_DENIED) for an output, which is not to be read.
        """
        self._check(INPUT)
        if self._region is None:
            return b""
        return self._region.read(self._thread.ffa.memory, self._at, self._capacity)

    def write(self, data: bytes, at: int = 0) -> None:
        """Store `data`, which then ends where the client's buffer does.

        Raises TeeError: ACCESS_DENIED for an input, SHORT_BUFFER if the data does not fit, with
        the size that would have done for the client.
        """
        self._check(OUTPUT)
        self.size = at + len(data)
        if self.size > self._capacity:
            raise TeeError(Result.SHORT_BUFFER)
        if self._region is not None:
            self._region.write(self._thread.ffa.memory, self._at + at, data)

    def _check(self, access: int) -> None:
        if not self.type & access:
            raise TeeError(Result.ACCESS_DENIED)

    def __repr__(self) -> str:
        return f"<Memref of {self.size} bytes>"


class Params(tuple[Value | Memref | None, ...]):
    """The four parameters of a call; None where there is none."""

    __slots__ = ()

    @property
    def types(self) -> tuple[int, ...]:
        """The type of each."""
        return tuple(Type.NONE if param is None else param.type for param in self)

    def expect(self, *types: Type) -> Params:
        """Raise TeeError (BAD_PARAMETERS) if the parameters have not exactly these types."""
        if self.types != types + (Type.NONE,) * (NUM_PARAMS - len(types)):
            raise TeeError(Result.BAD_PARAMETERS)
        return self

    def value(self, index: int) -> Value:
        """A parameter that must be a value, else TeeError (BAD_PARAMETERS)."""
        param = self[index]
        if not isinstance(param, Value):
            raise TeeError(Result.BAD_PARAMETERS)
        return param

    def memref(self, index: int) -> Memref:
        """A parameter that must be memory, else TeeError (BAD_PARAMETERS)."""
        param = self[index]
        if not isinstance(param, Memref):
            raise TeeError(Result.BAD_PARAMETERS)
        return param


def params_of(given: Sequence[Value | Memref | None]) -> Params:
    """Up to four parameters, filled up with None."""
    return Params((*given, *[None] * (NUM_PARAMS - len(given))))
