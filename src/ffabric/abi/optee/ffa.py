"""The FF-A ABI of OP-TEE: services in w3 to w7 of direct messages (OP-TEE 4.10, optee_ffa.h).

A *blocking* call is answered at once. A *yielding* call runs in a thread, which may suspend itself:
the response is then no answer but a request of OP-TEE, and YIELDING_CALL_RESUME with the thread's
number in w7 goes on with the call. Memory is named by FF-A handles, here called cookies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import cache
from typing import Final
from uuid import UUID

from msgspec import Struct

from ffabric.abi.bits import Bit, Word
from ffabric.abi.ffa.accessors import record_reader, record_writer
from ffabric.abi.ffa.registers import Arg, Kind, encode, pair
from ffabric.abi.words import MASK32

SOURCE: Final = "OP-TEE 4.10, optee_ffa.h"
OPTEE_UUID: Final = UUID("486178e0-e7f8-11e3-bc5e-0002a5d5c51b")
VERSION_MAJOR: Final = 1
VERSION_MINOR: Final = 0
YIELDING: Final = 1 << 31

GET_API_VERSION: Final = 0
GET_OS_VERSION: Final = 1
EXCHANGE_CAPABILITIES: Final = 2
UNREGISTER_SHM: Final = 3
ENABLE_ASYNC_NOTIF: Final = 5
RELEASE_PROTMEM: Final = 8
YIELDING_CALL_WITH_ARG: Final = YIELDING | 0
YIELDING_CALL_RESUME: Final = YIELDING | 1

MAX_ASYNC_NOTIF_VALUE: Final = 64
"""Bottom half values are below this."""


class Return(IntEnum):
    """w4 of the response to a yielding call: what it is."""

    DONE = 0
    RPC_CMD = 1
    INTERRUPT = 2


class Capabilities(Word):
    """w5 of the response to EXCHANGE_CAPABILITIES (OPTEE_FFA_SEC_CAP_*)."""

    PROTMEM = Bit(3)
    RPMB_PROBE = Bit(2)
    ASYNC_NOTIF = Bit(1)
    ARG_OFFSET = Bit(0)


CAP_ARG_OFFSET: Final = 1 << 0
CAP_ASYNC_NOTIF: Final = 1 << 1
CAP_RPMB_PROBE: Final = 1 << 2
CAP_PROTMEM: Final = 1 << 3


class Service(Struct, frozen=True):
    """A service: its parameters in w4 to w7, and the fields of its response in w3 to w7."""

    id: int
    name: str
    args: tuple[Arg, ...]
    reply: tuple[Arg, ...]


_COOKIE = pair("cookie", 4, Kind.HANDLE)
_VERSION = (Arg("major", 3, kind=Kind.COUNT), Arg("minor", 4, kind=Kind.COUNT))
_RESULT = (Arg("result", 3),)
_YIELDED = (Arg("result", 3), Arg("kind", 4), Arg("resume", 7))

SERVICES: Final[dict[int, Service]] = {
    service.id: service
    for service in (
        Service(GET_API_VERSION, "GET_API_VERSION", (), _VERSION),
        Service(
            GET_OS_VERSION,
            "GET_OS_VERSION",
            (),
            (*_VERSION, Arg("build", 5)),
        ),
        Service(
            EXCHANGE_CAPABILITIES,
            "EXCHANGE_CAPABILITIES",
            (),
            (
                Arg("result", 3),
                Arg("rpc_params", 4, 7, kind=Kind.COUNT),
                Arg("capabilities", 5, 31, 0, Kind.FLAGS, 1, Capabilities),
                Arg("max_notification", 6, kind=Kind.COUNT),
            ),
        ),
        Service(UNREGISTER_SHM, "UNREGISTER_SHM", (_COOKIE,), _RESULT),
        Service(
            ENABLE_ASYNC_NOTIF,
            "ENABLE_ASYNC_NOTIF",
            (Arg("bottom_half_value", 4, kind=Kind.COUNT),),
            _RESULT,
        ),
        Service(RELEASE_PROTMEM, "RELEASE_PROTMEM", (_COOKIE,), _RESULT),
        Service(
            YIELDING_CALL_WITH_ARG,
            "YIELDING_CALL_WITH_ARG",
            (_COOKIE, Arg("offset", 6)),
            _YIELDED,
        ),
        Service(YIELDING_CALL_RESUME, "YIELDING_CALL_RESUME", (Arg("resume", 7),), _YIELDED),
    )
}


def service_of(w3: int) -> Service | None:
    """The service that w3 of a request asks for; None if there is none."""
    return SERVICES.get(w3 & MASK32)


def build_request(service_id: int, /, **fields: int) -> list[int]:
    """w3 to w7 of a request; ValueError for a field that it does not have or that does not fit."""
    return _words(service_id, service_id, fields, reply=False)


def build_reply(service_id: int, /, **fields: int) -> list[int]:
    """w3 to w7 of a response; ValueError as for `build_request`."""
    return _words(service_id, 0, fields, reply=True)


def _words(service_id: int, w3: int, fields: dict[str, int], *, reply: bool) -> list[int]:
    args, write, _ = _layout(service_id, reply)
    if args.keys() >= fields.keys() and (registers := write(**fields)) is not None:
        words = (registers + _ZEROS[len(registers) :])[2:]
        words[0] |= w3
        return words
    encode(args.values(), [0] * 18, fields, is_64=False)  # raises
    raise AssertionError(fields)


def parse_request(words: Sequence[int]) -> dict[str, int]:
    """The parameters in w3 to w7 of a request, by name; none of an unknown service."""
    service = service_of(words[0])
    return {} if service is None else _fields(service.id, words, reply=False)


def parse_reply(service_id: int, words: Sequence[int]) -> dict[str, int]:
    """The fields in w3 to w7 of the response to a service, by name."""
    return _fields(service_id, words, reply=True)


def _fields(service_id: int, words: Sequence[int], *, reply: bool) -> dict[str, int]:
    _, _, read = _layout(service_id, reply)
    return read((0, 0, 0, *words, *_ZEROS))


@cache
def _layout(service_id: int, reply: bool) -> _Layout:
    service = SERVICES[service_id]
    args = service.reply if reply else service.args
    by_name = {arg.name: arg for arg in args}
    return by_name, record_writer(args, is_64=False), record_reader(args, is_64=False)


_ZEROS = [0] * 7
_Layout = tuple[
    dict[str, Arg],
    Callable[..., list[int] | None],
    Callable[[Sequence[int]], dict[str, int]],
]
"""The fields of a request or reply: by name, what writes x1 to x7, and what reads x0 to x7."""
