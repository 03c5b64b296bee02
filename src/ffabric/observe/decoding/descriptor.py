"""The descriptor that a memory call carries in TX, in a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory, messages
from ffabric.abi.ffa.memory_words import Attributes, Permissions, TransactionFlags
from ffabric.observe.decoding import virtio_msg

_TRANSACTIONS = frozenset(
    {
        *(fid.FFA_MEM_DONATE_32, fid.FFA_MEM_DONATE_64),
        *(fid.FFA_MEM_LEND_32, fid.FFA_MEM_LEND_64),
        *(fid.FFA_MEM_SHARE_32, fid.FFA_MEM_SHARE_64),
        *(fid.FFA_MEM_RETRIEVE_REQ_32, fid.FFA_MEM_RETRIEVE_REQ_64),
    }
)
_RANGES_SHOWN = 4
_BYTES_SHOWN = 32
_NOBODY: Mapping[int, str] = {}


Names = Mapping[int, str]
"""Endpoint id -> name."""


def describe(function: int, data: bytes, version: int, names: Names = _NOBODY) -> str:
    """What ``data`` in TX says to ``function``; empty if it reads nothing there."""
    describer = _transaction if function in _TRANSACTIONS else _OTHERS.get(function)
    if describer is None:
        return ""
    try:
        return describer(data, version, names)
    except (DecodeError, ValueError) as error:
        return f"malformed: {error}"


def _transaction(data: bytes, version: int, names: Names) -> str:
    sent = memory.parse_transaction(data, version)
    to = ", ".join(
        f"{_named(r.endpoint, names)} {Permissions(r.permissions)}" for r in sent.receivers
    )
    words = [f"from {_named(sent.sender, names)}", f"to {to or 'nobody'}"]
    if sent.constituents:
        words.append(pages(sent.constituents))
    if sent.attributes:
        words.append(f"attributes {Attributes(sent.attributes)}")
    if sent.flags:
        words.append(f"flags {TransactionFlags(sent.flags)}")
    if sent.handle:
        words.append(f"handle {sent.handle:#x}")
    if sent.tag:
        words.append(f"tag {sent.tag:#x}")
    return "; ".join(words)


def pages(ranges: Sequence[tuple[int, int]]) -> str:
    """Ranges of (address, pages), the first few of them."""
    shown = ", ".join(f"{at:#x}+{pages}" for at, pages in ranges[:_RANGES_SHOWN])
    more = len(ranges) - _RANGES_SHOWN
    return f"pages {shown}" + (f" and {more} more ranges" if more > 0 else "")


def _fragment(data: bytes, _version: int, _names: Names) -> str:
    return pages(memory.parse_constituents(data))


def _relinquish(data: bytes, _version: int, names: Names) -> str:
    given = memory.parse_relinquish(data)
    ids = ", ".join(_named(each, names) for each in given.endpoints)
    return f"handle {given.handle:#x}; endpoints {ids}; flags {given.flags:#x}"


def _message(data: bytes, version: int, names: Names) -> str:
    sent = messages.parse_message(data, version)
    ends = f"from {_named(sent.sender, names)} to {_named(sent.receiver, names)}"
    if sent.uuid in virtio_msg.UUIDS:
        return f"{ends}: {virtio_msg.message(sent.payload)}"
    return f"{ends}: {sent.payload[:_BYTES_SHOWN].hex(' ')}"


def _named(endpoint: int, names: Names) -> str:
    name = names.get(endpoint)
    return f"{endpoint:#06x}" if name is None else f"{endpoint:#06x} ({name})"


_OTHERS = {
    fid.FFA_MEM_FRAG_TX: _fragment,
    fid.FFA_MEM_RELINQUISH: _relinquish,
    fid.FFA_MSG_SEND2: _message,
}
