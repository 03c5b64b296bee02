"""FFA_CONSOLE_LOG: characters in registers, collected to lines per execution context.

Hafnium answers callers of every version, though the call is one of 1.2, and SPs of its time rely on
that; before 1.2 there are six registers of either size.

A guest may log one character a call, and its vCPUs may do so at the same time: the line belongs to
the context, and the manager's ``console`` hears of it when a newline or a NUL ends it or when it
has become too long.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_2
from ffabric.abi.words import MASK32
from ffabric.firmware.state import events, reply
from ffabric.firmware.state.rules import refuse, rule

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.partition import ExecutionContext, Next
    from ffabric.machine.context import PE

COUNT = rule(
    "console.count",
    Status.INVALID_PARAMETERS,
    "DEN0077A 1.2, section 13.12",
    "The character count in w1 is from 1 to what the registers hold: 24, or 128 in 64-bit calls.",
    since=V1_2,
)

MAX_LINE = 256

_REGISTERS = {
    fid.FFA_CONSOLE_LOG_32: struct.Struct("<6I"),
    fid.FFA_CONSOLE_LOG_64: struct.Struct("<16Q"),
}
_SIX = struct.Struct("<6Q")
"""Characters begin in w2 or x2, lowest byte first."""


def log(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_CONSOLE_LOG (32- and 64-bit)."""
    x = caller.x
    function = x[0] & MASK32
    older = caller.partition.version < V1_2
    packing = _SIX if older and function == fid.FFA_CONSOLE_LOG_64 else _REGISTERS[function]
    registers = packing.size // struct.calcsize(packing.format[-1])
    count = x[1]
    if not 0 < count <= packing.size:
        refuse(COUNT, got=count, expected=f"1 to {packing.size}")
    for character in packing.pack(*x[2 : 2 + registers])[:count]:
        if character in b"\n\0":
            flush(pm, pe, caller)
        else:
            caller.line.append(character)
            if len(caller.line) >= MAX_LINE:
                flush(pm, pe, caller)
    reply.success(x)
    return caller


def flush(pm: Manager, pe: PE, ctx: ExecutionContext) -> None:
    """Pass the line that ``ctx`` has logged on, as it stands."""
    text = ctx.line.decode("utf-8", "backslashreplace").rstrip("\r")
    ctx.line.clear()
    pm.console(ctx.partition, text)
    if pm.tracer is not None:
        pm.tracer.record(events.Console(ctx.partition.name, text, pe.index))


FOR_OLDER = frozenset((fid.FFA_CONSOLE_LOG_32, fid.FFA_CONSOLE_LOG_64))
"""Calls that are answered in versions that do not define them, too."""

HANDLERS: dict[int, Handler[Manager]] = {
    fid.FFA_CONSOLE_LOG_32: log,
    fid.FFA_CONSOLE_LOG_64: log,
}
