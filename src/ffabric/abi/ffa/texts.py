"""How the fields of calls read: one function per kind of field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ffabric.abi import psci, smccc
from ffabric.abi.bits import Word
from ffabric.abi.ffa.features import feature_name
from ffabric.abi.ffa.registers import Arg, Kind
from ffabric.abi.ffa.status import from_register
from ffabric.abi.ffa.uuids import from_pair, from_words
from ffabric.abi.ffa.version import format_version
from ffabric.abi.words import MASK32, MASK64

# FFA_VERSION answers a version or, without an FFA_ERROR around it, a code of SMCCC.
_VERSION_ERRORS: Final = {
    smccc.NOT_SUPPORTED & MASK32: "NOT_SUPPORTED",
    smccc.INVALID_PARAMETER & MASK32: "INVALID_PARAMETER",
}
_PSCI_RETURNS: Final = {code.register: code.name for code in psci.Return}


def _hex(value: int, _: Arg) -> str:
    return f"{value:#x}"


def _id(value: int, _: Arg) -> str:
    return f"{value:#06x}"


def _number(value: int, _: Arg) -> str:
    return str(value)


def _pages(value: int, _: Arg) -> str:
    return f"{value} ({value * 4} KiB)" if value else "0"


def _status(value: int, _: Arg) -> str:
    status = from_register(value)
    return status.name if status is not None else f"unassigned status {value:#x}"


def _psci_status(value: int, _: Arg) -> str:
    return _PSCI_RETURNS.get(value & MASK32) or f"unassigned status {value:#x}"


def _psci_function(value: int, _: Arg) -> str:
    function = psci.FUNCTIONS.get(value)
    return function.name if function is not None else f"{value:#x}"


def _version(value: int, _: Arg) -> str:
    if value < 1 << 31:
        return format_version(value)
    return _VERSION_ERRORS.get(value, f"{value:#x}")


def _feature(value: int, _: Arg) -> str:
    return feature_name(value)


def _uuid(value: int, arg: Arg) -> str:
    if arg.count == 2:
        return str(from_pair(value & MASK64, value >> 64))
    return str(from_words(*(value >> 32 * index for index in range(arg.count))))


def _characters(value: int, _: Arg) -> str:
    return repr(value.to_bytes(128, "little").rstrip(b"\0"))


def _word(value: int, arg: Arg) -> str:
    word = arg.word or Word
    return str(word(value))


_TEXT: Final[dict[Kind, Callable[[int, Arg], str]]] = {
    Kind.COUNT: _number,
    Kind.ENDPOINT: _id,
    Kind.FEATURE: _feature,
    Kind.FLAGS: _word,
    Kind.INTID: _number,
    Kind.PAGES: _pages,
    Kind.PSCI_FUNCTION: _psci_function,
    Kind.PSCI_STATUS: _psci_status,
    Kind.STATUS: _status,
    Kind.TEXT: _characters,
    Kind.UUID: _uuid,
    Kind.VCPU: _number,
    Kind.VERSION: _version,
}


def text(value: int, arg: Arg) -> str:
    """The content of a field as people read it."""
    return _TEXT.get(arg.kind, _hex)(value, arg)
