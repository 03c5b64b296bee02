"""Bits of a call's registers that mean nothing, and whether they must or should be zero.

They follow from `call_layouts`: what no field covers is reserved, MBZ in v1.0 and SBZ since v1.1,
and a row may say otherwise of what it covers. The upper half of a register that carries a w
parameter is not part of the call: it is neither MBZ nor SBZ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import registers
from ffabric.abi.ffa.call_layouts import ARGS
from ffabric.abi.ffa.registers import REGISTERS_32, Reserved
from ffabric.abi.smccc import is_smc64
from ffabric.abi.words import MASK32, MASK64

Stray = Callable[[Sequence[int]], int]
"""Registers, x0 first -> not zero if x1 to x7 hold anything that the call does not define."""

_TARGET: Final = ARGS["FFA_SUCCESS"]
_NUMBERS: Final = range(1, REGISTERS_32 + 1)


@cache
def reserved(function_id: int, version: int, *, virtual: bool = False) -> tuple[Reserved, ...]:
    """The register bits that must or should be zero in a call; KeyError if FF-A defines none.

    At a virtual FF-A instance the fields that only a hypervisor or SPMD fills must be zero too.
    Whether a direct message is a framework message is not looked at: its payload is free.
    """
    function = fid.FUNCTIONS[function_id]
    last = registers.last_register(version, is_64=function.is_64)
    checks = registers.reserved(function.args, last, version, is_64=function.is_64, virtual=virtual)
    return tuple(checks)


@cache
def reserved_reply(call_id: int, reply_id: int, version: int) -> tuple[Reserved, ...]:
    """The register bits that must or should be zero in the FFA_SUCCESS answering `call_id`."""
    is_64 = reply_id == fid.FFA_SUCCESS_64
    last = registers.last_register(version, is_64=is_64)
    args = (*_TARGET, *fid.FUNCTIONS[call_id].replies)
    return tuple(registers.reserved(args, last, version, is_64=is_64, virtual=False))


@cache
def judged(function_id: int, version: int, *, virtual: bool) -> tuple[Reserved, ...]:
    """Those of `reserved` that a partition manager looks at: x1 to x7.

    What a call leaves in x8 to x17 is no message to the callee where it passes eight registers,
    and the calls that pass eighteen have parameters there (DEN0077A v1.2, 11.2; SMCCC 1.2).
    """
    found = reserved(function_id, version, virtual=virtual)
    return tuple(each for each in found if each.register <= REGISTERS_32)


@cache
def defined(function_id: int, version: int, *, virtual: bool) -> tuple[int, ...]:
    """The bits of x1 to x7 that a call defines.

    Of calls that are not FF-A's it is taken for granted that all of them have a meaning.
    """
    function = fid.FUNCTIONS.get(function_id)
    if function is None:
        return (MASK64 if is_smc64(function_id) else MASK32,) * REGISTERS_32
    masks = dict.fromkeys(_NUMBERS, 0)
    for arg in registers.at_version(function.args, version):
        if not arg.name or (virtual and arg.physical_only):
            continue
        mask = (1 << arg.width(is_64=function.is_64)) - 1 << arg.lo
        if arg.word is not None:
            mask &= arg.word.defined(version)
        for register in arg.span(is_64=function.is_64):
            if register in masks:
                masks[register] |= mask
    return tuple(masks.values())


@cache
def stray(function_id: int, version: int, *, virtual: bool) -> Stray | None:
    """A function that looks for bits in x1 to x7 outside of `defined`; None: there cannot be any.

    It costs every call of a partition, so it is made for the call and looks at nothing else.
    """
    shifts: dict[int, list[str]] = {}
    tests = []
    masks = defined(function_id, version, virtual=virtual)
    for register, mask in zip(_NUMBERS, masks, strict=True):
        if mask & (mask + 1):
            tests.append(f"x[{register}] & {MASK64 & ~mask}")
        elif mask != MASK64:
            shifts.setdefault(mask.bit_length(), []).append(f"x[{register}]")
    for shift, names in sorted(shifts.items()):
        together = " | ".join(names)
        tests.append(f"({together}) >> {shift}" if shift else together)
    if not tests:
        return None
    found: Stray = eval(f"lambda x: {' or '.join(tests)}", {})  # noqa: S307 - a table's numbers
    return found
