"""Which lines of a trace are worth a person's time: each thing once, in the order it happened.

Left out are the answers that say nothing but success, the delivery of a message that has just been
seen as a call, and the housekeeping of buffers and consoles. The file has everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.firmware.state.events import Hop, Restore, Rx, World
from ffabric.machine.events import (
    Call,
    ContextEvent,
    Idle,
    Record,
    Resume,
    Return,
    Slice,
    Start,
)
from ffabric.observe.lines import Choices, Scene

_MESSAGES = frozenset(
    {
        fid.FFA_MSG_SEND_DIRECT_REQ_32,
        fid.FFA_MSG_SEND_DIRECT_REQ_64,
        fid.FFA_MSG_SEND_DIRECT_REQ2,
        fid.FFA_MSG_SEND_DIRECT_RESP_32,
        fid.FFA_MSG_SEND_DIRECT_RESP_64,
        fid.FFA_MSG_SEND_DIRECT_RESP2,
    }
)
_HOUSEKEEPING = frozenset(
    {
        fid.FFA_ID_GET,
        fid.FFA_MSG_WAIT,
        fid.FFA_RX_RELEASE,
        fid.FFA_YIELD,
        fid.FFA_NOTIFICATION_GET,
        psci.CPU_ON_64,
        psci.CPU_OFF,
    }
)
_RESUMPTIONS = frozenset({fid.FFA_RUN, fid.FFA_MSG_WAIT, fid.FFA_YIELD})
_HYPERVISOR = 0
_LEFT_OUT = frozenset({Restore, Start, Resume, Slice, Idle, Rx, Choices, Scene, Hop})


def excerpt(lines: Iterable[Record]) -> Iterator[Record]:
    """The lines that matter."""
    asked: dict[tuple[str, int], int] = {}
    silent: dict[int, tuple[str, int]] = {}  # PE -> whose housekeeping is under way
    for line in lines:
        if type(line) in _LEFT_OUT or (isinstance(line, World) and line.pe in silent):
            continue
        if isinstance(line, Call):
            function = line.x[0] & MASK32
            asked[_who(line)] = function
            if function in _HOUSEKEEPING:
                if function not in _RESUMPTIONS:
                    silent[line.pe] = _who(line)
                continue
        elif isinstance(line, Return):
            if silent.get(line.pe) == _who(line):
                del silent[line.pe]
            if not _tells(line, asked.get(_who(line), 0)):
                continue
        yield line


def _who(line: ContextEvent) -> tuple[str, int]:
    return line.endpoint, line.vcpu


def _tells(line: Return, asked: int) -> bool:
    """Whether the answer to the call ``asked`` was not seen as a call, and says something."""
    function = line.x[0] & MASK32
    if function in _MESSAGES:
        return line.x[1] >> 16 == _HYPERVISOR
    if function in (fid.FFA_SUCCESS_32, fid.FFA_SUCCESS_64):
        return any(line.x[2:]) and asked not in _HOUSEKEEPING
    return function not in _RESUMPTIONS and function != 0
