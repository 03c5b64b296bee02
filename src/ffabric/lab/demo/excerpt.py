"""Which lines of a trace are worth a person's time: each thing once, in the order it happened.

Left out are the answers that say nothing but success, the delivery of a message that has just been
seen as a call, and the housekeeping of buffers and consoles. The file has everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32

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
_KINDS = frozenset({"restore", "start", "rx", "choices", "scene", "hop"})


def excerpt(lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The lines that matter."""
    asked: dict[tuple[str, int], int] = {}
    silent: dict[int, tuple[str, int]] = {}  # PE -> whose housekeeping is under way
    for line in lines:
        kind = line["kind"]
        if kind in _KINDS or (kind == "world" and line["pe"] in silent):
            continue
        if kind == "call":
            function = _function(line)
            asked[_who(line)] = function
            if function in _HOUSEKEEPING:
                if function not in _RESUMPTIONS:
                    silent[line["pe"]] = _who(line)
                continue
        elif kind == "return":
            if silent.get(line["pe"]) == _who(line):
                del silent[line["pe"]]
            if not _tells(line, asked):
                continue
        yield line


def _who(line: dict[str, Any]) -> tuple[str, int]:
    return line["endpoint"], line["vcpu"]


def _function(line: dict[str, Any]) -> int:
    return int(line["x"][0], 16) & MASK32


def _tells(line: dict[str, Any], asked: dict[tuple[str, int], int]) -> bool:
    """Whether what a context resumes with was not seen as somebody's call, and says something."""
    function = _function(line)
    if function in _MESSAGES:
        return len(line["x"]) > 1 and int(line["x"][1], 16) >> 16 == _HYPERVISOR
    if function in (fid.FFA_SUCCESS_32, fid.FFA_SUCCESS_64):
        return len(line["x"]) > 2 and asked.get(_who(line)) not in _HOUSEKEEPING
    return function not in _RESUMPTIONS and function != 0
