"""The message protocol: `struct optee_msg_arg` and its parameters (OP-TEE 4.10, optee_msg.h).

A message is a header of 32 bytes and parameters of 32 bytes each; OP-TEE answers in place. What
describes memory differs: over the FF-A ABI a parameter of type 5 to 7 is an FMEM, over the SMC ABI
an RMEM, and only there are TMEMs (types 9 to 11) used.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final
from uuid import UUID

from msgspec import Struct

from ffabric.abi.bits import Bit, Bits, Word
from ffabric.abi.errors import DecodeError
from ffabric.abi.layout import Layout, sbz, u16, u32, u64
from ffabric.abi.words import MASK32, PAGE

SOURCE: Final = "OP-TEE 4.10, optee_msg.h"


class Command(IntEnum):
    """What a message asks for (OPTEE_MSG_CMD_*)."""

    OPEN_SESSION = 0
    INVOKE_COMMAND = 1
    CLOSE_SESSION = 2
    CANCEL = 3
    REGISTER_SHM = 4
    UNREGISTER_SHM = 5
    DO_BOTTOM_HALF = 6
    STOP_ASYNC_NOTIF = 7
    LEND_PROTMEM = 8
    RECLAIM_PROTMEM = 9
    GET_PROTMEM_CONFIG = 10
    ASSIGN_PROTMEM = 11


class Type(IntEnum):
    """What a parameter is (OPTEE_MSG_ATTR_TYPE_*); FMEM has the numbers of RMEM."""

    NONE = 0x0
    VALUE_INPUT = 0x1
    VALUE_OUTPUT = 0x2
    VALUE_INOUT = 0x3
    FMEM_INPUT = 0x5
    FMEM_OUTPUT = 0x6
    FMEM_INOUT = 0x7
    TMEM_INPUT = 0x9
    TMEM_OUTPUT = 0xA
    TMEM_INOUT = 0xB


class Attributes(Word):
    """The attributes of a parameter."""

    CACHE = Bits(18, 16)
    NONCONTIG = Bit(9)
    META = Bit(8)
    TYPE = Bits(7, 0, Type)


TYPE_MASK: Final = 0xFF
META: Final = 1 << 8  # for OP-TEE itself, not for the TA: the first two of OPEN_SESSION
NONCONTIG: Final = 1 << 9  # a TMEM's address is that of a list of pages
INPUT: Final = 1  # bits 1:0 of every type but NONE: who reads and who writes it
OUTPUT: Final = 2
META_VALUE: Final = META | Type.VALUE_INPUT

NO_HANDLE: Final = 0xFFFF_FFFF_FFFF_FFFF  # the handle of an FMEM that refers to no memory
LIST_ENTRIES: Final = PAGE // 8 - 1  # a page of a page list: so many addresses, and the next page

HEADER: Final = Layout(
    "optee_msg_arg",
    f"{SOURCE}, struct optee_msg_arg",
    u32("command", "What is asked for: OPTEE_MSG_CMD_*, or OPTEE_RPC_CMD_* in an RPC"),
    u32("function", "The TA's function, if the command is INVOKE_COMMAND"),
    u32("session", "The session; an answer if the command is OPEN_SESSION"),
    u32("cancel_id", "Identifies the request to a CANCEL"),
    sbz(4),
    u32("ret", "The result"),
    u32("ret_origin", "Where the result comes from"),
    u32("num_params", "How many parameters follow"),
)
VALUE: Final = Layout(
    "optee_msg_param_value",
    f"{SOURCE}, struct optee_msg_param_value",
    u64("attributes", "Type and flags"),
    u64("a", "Passed as it is"),
    u64("b", "Passed as it is"),
    u64("c", "Passed as it is"),
)
TMEM: Final = Layout(
    "optee_msg_param_tmem",
    f"{SOURCE}, struct optee_msg_param_tmem",
    u64("attributes", "Type and flags"),
    u64("address", "Physical address of the buffer, or of its page list plus the page offset"),
    u64("size", "Size of the buffer in bytes"),
    u64("reference", "Shared memory reference: a cookie"),
)
RMEM: Final = Layout(
    "optee_msg_param_rmem",
    f"{SOURCE}, struct optee_msg_param_rmem",
    u64("attributes", "Type and flags"),
    u64("offset", "Where the buffer begins in the registered memory"),
    u64("size", "Size of the buffer in bytes"),
    u64("reference", "Shared memory reference: a cookie"),
)
FMEM: Final = Layout(
    "optee_msg_param_fmem",
    f"{SOURCE}, struct optee_msg_param_fmem",
    u64("attributes", "Type and flags"),
    u32("offset_low", "Where the buffer begins in the shared memory, bits 31:0"),
    u16("offset_high", "Bits 47:32"),
    u16("internal_offset", "Where the shared memory begins in its first page"),
    u64("size", "Size of the buffer in bytes"),
    u64("handle", "FF-A handle of the memory region"),
)

_HEADER = HEADER.at()
_VALUE = VALUE.at()
_TMEM = TMEM.at()
_RMEM = RMEM.at()
_FMEM = FMEM.at()
HEADER_SIZE: Final = _HEADER.size
PARAM_SIZE: Final = _VALUE.size
MAX_PARAMS: Final = (PAGE - HEADER_SIZE) // PARAM_SIZE

# Where OP-TEE writes its answers, from the start of the message or of a parameter.
SESSION_OFFSET: Final = _HEADER.offsets["session"]
RET_OFFSET: Final = _HEADER.offsets["ret"]
VALUES_OFFSET: Final = _VALUE.offsets["a"]
SIZE_OFFSET: Final = _FMEM.offsets["size"]


class Empty(Struct, frozen=True):
    """No parameter."""

    attributes: int = Type.NONE


class Value(Struct, frozen=True):
    """Three words, passed as they are; a TA sees the low halves of the first two."""

    attributes: int
    a: int = 0
    b: int = 0
    c: int = 0


class Tmem(Struct, frozen=True):
    """Memory by its physical address, or by a list of its pages."""

    attributes: int
    address: int = 0
    size: int = 0
    reference: int = 0


class Rmem(Struct, frozen=True):
    """A part of memory that was registered."""

    attributes: int
    offset: int = 0
    size: int = 0
    reference: int = 0


class Fmem(Struct, frozen=True):
    """A part of memory that was shared with FFA_MEM_SHARE."""

    attributes: int
    offset: int = 0
    internal_offset: int = 0
    size: int = 0
    handle: int = NO_HANDLE


Param = Empty | Value | Tmem | Rmem | Fmem


class Message(Struct):
    """A message; `ret` and `ret_origin` are the answer's."""

    command: int
    function: int = 0
    session: int = 0
    cancel_id: int = 0
    ret: int = 0
    ret_origin: int = 0
    params: Sequence[Param] = ()


class Header(Struct, frozen=True):
    """The header of a message, with the number of parameters that it announces."""

    command: int
    function: int
    session: int
    cancel_id: int
    ret: int
    ret_origin: int
    num_params: int


def message_size(num_params: int) -> int:
    """The bytes of a message with so many parameters."""
    return HEADER_SIZE + PARAM_SIZE * num_params


def parse_header(data: bytes) -> Header:
    """The header at the start of `data`; DecodeError if it has more parameters than a page."""
    header = Header(*_HEADER.unpack(data, 0, "message"))
    if header.num_params > MAX_PARAMS:
        at = _HEADER.offsets["num_params"]
        raise DecodeError("message.num_params", at, header.num_params, f"more than {MAX_PARAMS}")
    return header


def parse_param(data: bytes, index: int, *, registered: bool = False) -> Param:
    """Parameter `index` of those that `data` is; as `parse_params`."""
    at = index * PARAM_SIZE
    attributes = _VALUE.unpack(data, at, f"params[{index}]")[0]
    kind = attributes & TYPE_MASK
    if kind == Type.NONE:
        return Empty(attributes)
    if 1 <= kind <= 3:
        return Value(*_VALUE.unpack(data, at))
    if 5 <= kind <= 7 and registered:
        return Rmem(*_RMEM.unpack(data, at))
    if 5 <= kind <= 7:
        _, low, high, internal, size, handle = _FMEM.unpack(data, at)
        return Fmem(attributes, low | high << 32, internal, size, handle)
    if 9 <= kind <= 11:
        return Tmem(*_TMEM.unpack(data, at))
    raise DecodeError(f"params[{index}].attributes", at, attributes, "no such type")


def parse_params(data: bytes, count: int, *, registered: bool = False) -> list[Param]:
    """`count` parameters at the start of `data`; types 5 to 7 are RMEM if `registered`, else FMEM.

    DecodeError if they do not fit into the data or one has a type that there is not.
    """
    if count * PARAM_SIZE > len(data):
        raise DecodeError("params", None, count, f"more than {len(data)} bytes hold")
    return [parse_param(data, index, registered=registered) for index in range(count)]


def parse_message(data: bytes, *, registered: bool = False) -> Message:
    """The message at the start of `data`, a snapshot; DecodeError if it is none."""
    header = parse_header(data)
    params = parse_params(data[HEADER_SIZE:], header.num_params, registered=registered)
    return Message(
        header.command,
        header.function,
        header.session,
        header.cancel_id,
        header.ret,
        header.ret_origin,
        params,
    )


def build_param(param: Param) -> bytes:
    """The 32 bytes of a parameter; ValueError if a field does not fit."""
    match param:
        case Value(attributes, a, b, c):
            return _VALUE.pack(attributes, a, b, c)
        case Tmem(attributes, address, size, reference):
            return _TMEM.pack(attributes, address, size, reference)
        case Rmem(attributes, offset, size, reference):
            return _RMEM.pack(attributes, offset, size, reference)
        case Fmem(attributes, at, internal, size, handle):
            return _FMEM.pack(attributes, at & MASK32, at >> 32, internal, size, handle)
        case Empty(attributes):
            return _VALUE.pack(attributes, 0, 0, 0)


def build_message(message: Message) -> bytes:
    """The bytes of a message; ValueError if a field does not fit."""
    head = _HEADER.pack(
        message.command,
        message.function,
        message.session,
        message.cancel_id,
        message.ret,
        message.ret_origin,
        len(message.params),
    )
    return head + b"".join(map(build_param, message.params))


def uuid_words(uuid: UUID) -> tuple[int, int]:
    """The octets of a UUID as `a` and `b` of a value parameter."""
    return int.from_bytes(uuid.bytes[:8], "little"), int.from_bytes(uuid.bytes[8:], "little")


def words_uuid(a: int, b: int) -> UUID:
    """The UUID whose octets are in `a` and `b` of a value parameter."""
    return UUID(bytes=struct.pack("<QQ", a, b))


def build_page_list(addresses: Sequence[int], list_pages: Sequence[int]) -> list[bytes]:
    """The pages of the list of a non-contiguous buffer, each 4 KiB.

    `addresses` are those of the buffer's pages, `list_pages` those where the list itself will be.
    ValueError if the list does not fit there.
    """
    needed = max(1, -(-len(addresses) // LIST_ENTRIES))
    if needed > len(list_pages):
        raise ValueError(f"a list of {len(addresses)} pages takes {needed}, not {len(list_pages)}")
    pages = []
    for index in range(needed):
        part = addresses[index * LIST_ENTRIES : (index + 1) * LIST_ENTRIES]
        last = index + 1 == needed
        entries = [*part, *[0] * (LIST_ENTRIES - len(part)), 0 if last else list_pages[index + 1]]
        pages.append(struct.pack(f"<{LIST_ENTRIES + 1}Q", *entries))
    return pages


def parse_list_page(data: bytes, left: int) -> tuple[list[int], int]:
    """One page of a page list of which `left` addresses are still to come: they, and the next page.

    The next page is 0 if the list ends here. DecodeError if an address that counts is not a page's.
    """
    if len(data) < PAGE:
        raise DecodeError("page_list", 0, len(data), f"shorter than {PAGE} bytes")
    *entries, following = struct.unpack_from(f"<{LIST_ENTRIES + 1}Q", data)
    addresses = entries[:left]
    if left <= LIST_ENTRIES:
        following = 0
    for index, address in enumerate([*addresses, following]):
        if address % PAGE:
            at = 8 * (index if index < len(addresses) else LIST_ENTRIES)
            raise DecodeError("page_list", at, address, "not the address of a page")
    if left > LIST_ENTRIES and not following:
        raise DecodeError("page_list.next", 8 * LIST_ENTRIES, 0, f"{left} pages are still to come")
    return addresses, following
