"""What calls read from TX: the bytes that go with a call, where it is kept or written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32

if TYPE_CHECKING:
    from ffabric.firmware.state.mailbox import Buffer
    from ffabric.system.system import System

_LARGEST = 1 << 16
_RELINQUISH_BYTES = 64
_MESSAGE_HEADER = 20


def _message_bytes(_x: Sequence[int], tx: Buffer) -> int:
    head = tx.snapshot(_MESSAGE_HEADER)
    offset = int.from_bytes(head[8:12], "little")
    size = int.from_bytes(head[16:20], "little")
    return max(_MESSAGE_HEADER, min(offset + size, _LARGEST))


READS_TX: dict[int, Callable[[Sequence[int], Buffer], int]] = {
    **dict.fromkeys(
        (
            *(fid.FFA_MEM_DONATE_32, fid.FFA_MEM_DONATE_64),
            *(fid.FFA_MEM_LEND_32, fid.FFA_MEM_LEND_64),
            *(fid.FFA_MEM_SHARE_32, fid.FFA_MEM_SHARE_64),
            *(fid.FFA_MEM_RETRIEVE_REQ_32, fid.FFA_MEM_RETRIEVE_REQ_64),
        ),
        lambda x, _tx: min(x[2] & MASK32, _LARGEST),
    ),
    fid.FFA_MEM_FRAG_TX: lambda x, _tx: min(x[3] & MASK32, _LARGEST),
    fid.FFA_MEM_RELINQUISH: lambda _x, _tx: _RELINQUISH_BYTES,
    fid.FFA_MSG_SEND2: _message_bytes,
}
"""Functions that read TX -> how many bytes, from the registers and what is there."""


def transmitted(system: System, name: str, x: Sequence[int]) -> tuple[tuple[int, bytes], ...]:
    """(IPA, bytes) that the call in ``x`` of a partition reads from its TX; () if it reads none."""
    length = READS_TX.get(x[0] & MASK32)
    endpoint = system.endpoints.get(name)
    if length is None or endpoint is None:
        return ()
    box = system.firmware.mailbox_of(endpoint.partition)
    if box is None:
        return ()
    return ((box.tx.ipa, box.tx.snapshot(length(x, box.tx))),)
