"""Registers to words and back: calls and replies decoded for people, encoded for callers.

`decode` reads any registers at all: FF-A, PSCI, SMCCC and Hafnium calls by name and field, others
as numbers. FFA_SUCCESS means something only after the call that it answers, and FFA_VERSION,
PSCI and Hafnium answer without a function id: `decode_reply` takes both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ffabric.abi import hafnium, lfa, psci, smccc
from ffabric.abi.ffa import framework, registers
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.call_layouts import ARGS
from ffabric.abi.ffa.features import PROPERTIES
from ffabric.abi.ffa.flags import FRAMEWORK_MESSAGE
from ffabric.abi.ffa.registers import Arg, Kind, Reserved
from ffabric.abi.ffa.reserved import reserved, reserved_reply
from ffabric.abi.ffa.texts import text
from ffabric.abi.ffa.version import LATEST, format_version
from ffabric.abi.optee import smc as optee
from ffabric.abi.smccc import Function as SmcccFunction
from ffabric.abi.words import MASK32

FieldText = tuple[str, int, str]


class Call(Struct):
    """A decoded call or reply: its fields as (name, value, text), and what is odd about it."""

    id: int
    name: str
    fields: list[FieldText]
    notes: list[str]

    def __str__(self) -> str:
        shown = list(self.fields)
        while shown and not shown[-1][1] and shown[-1][0][0] in "wx" and shown[-1][0][1:].isdigit():
            shown.pop()
        line = " ".join([f"{self.name}:", *(f"{name}={content}" for name, _, content in shown)])
        return line.removesuffix(":") + "".join(f"  [{note}]" for note in self.notes)


SIBLINGS: Final = (
    smccc.FUNCTIONS,
    psci.FUNCTIONS,
    hafnium.FUNCTIONS,
    optee.FUNCTIONS,
    lfa.FUNCTIONS,
)
_PROVIDED: Final = {
    smccc.Owner.SIP: "a SiP call: the silicon provider's own",
    smccc.Owner.OEM: "an OEM call: the equipment manufacturer's own",
    smccc.Owner.VENDOR_HYPERVISOR: "a hypervisor vendor's own call",
    smccc.Owner.TRUSTED_APPLICATION: "a trusted application's own call",
    smccc.Owner.TRUSTED_OS: "a trusted OS's own call",
}
"""What is said of calls that no specification names, by who defines them (DEN0028, table 6.2)."""
_SUCCESS: Final = (fid.FFA_SUCCESS_32, fid.FFA_SUCCESS_64)
# The direct messages that may be framework messages: x2 of the other two is not a flag word.
_FRAMEWORK: Final = (fid.DIRECT_REQUESTS | fid.DIRECT_RESPONSES) - {
    fid.FFA_MSG_SEND_DIRECT_REQ2,
    fid.FFA_MSG_SEND_DIRECT_RESP2,
}
_TARGET: Final = ARGS["FFA_SUCCESS"]
_VERSION_CALLS: Final = (fid.FFA_VERSION, psci.PSCI_VERSION, smccc.SMCCC_VERSION)


def _sibling(function_id: int) -> SmcccFunction | None:
    """The call of PSCI, SMCCC, Hafnium or OP-TEE with this id."""
    return next((table[function_id] for table in SIBLINGS if function_id in table), None)


_REGISTERS: Final = 18


def _texts(
    args: Sequence[Arg], regs: Sequence[int], *, is_64: bool, given: int = _REGISTERS
) -> list[FieldText]:
    """The fields, but for those in registers from `given` on."""
    fields = []
    prefix = "x" if is_64 else "w"
    for arg in args:
        span = arg.span(is_64=is_64)
        if span.stop > given and arg.kind is not Kind.PAYLOAD:
            continue
        if arg.kind is Kind.PAYLOAD:
            width = (1 << arg.width(is_64=is_64)) - 1
            numbers = [number for number in span if number < given]
            fields += [(f"{prefix}{n}", regs[n] & width, f"{regs[n] & width:#x}") for n in numbers]
        elif arg.name:
            value = arg.get(regs, is_64=is_64)
            fields.append((arg.name, value, text(value, arg)))
    return fields


def _with_message(args: tuple[Arg, ...], w2: int, notes: list[str]) -> tuple[Arg, ...]:
    """The layout of a direct message, its payload replaced if it is a framework message."""
    if not w2 & FRAMEWORK_MESSAGE:
        return args
    message = framework.message_of(w2)
    if message is None:
        notes.append("unknown framework message")
        return args
    notes.append(f"framework message {message.name}")
    return (*(arg for arg in args if arg.kind is not Kind.PAYLOAD), *message.fields)


def _oddities(
    checks: Sequence[Reserved], regs: Sequence[int], prefix: str, notes: list[str]
) -> None:
    for check in checks:
        found = regs[check.register] & check.mask
        notes += [f"{prefix}{check.register}: reserved bits {found:#x} ({check.rule})"] * bool(
            found
        )


def _padded(regs: Sequence[int]) -> list[int]:
    return [*regs[:_REGISTERS], *[0] * (_REGISTERS - len(regs))]


def decode(regs: Sequence[int], version: int = LATEST, *, partly: bool = False) -> Call:
    """Any call or reply in x0 to x17, read as `version` lays it out.

    Fewer registers are taken as zeros; with `partly` they are not known, and fields that lie in
    them are left out.
    """
    given = len(regs) if partly else _REGISTERS
    regs = _padded(regs)
    function_id = regs[0] & MASK32
    notes: list[str] = []
    function = fid.FUNCTIONS.get(function_id)
    if function is None:
        other = _sibling(function_id)
        if other is None:
            fields = [(f"x{n}", regs[n], f"{regs[n]:#x}") for n in range(1, min(8, given))]
            name = fid.function_name(function_id)
            return Call(function_id, name, fields, [_unknown(function_id)])
        names = enumerate(other.args[: given - 1], 1)
        fields = [(name, regs[n], f"{regs[n]:#x}") for n, name in names]
        return Call(function_id, other.name, fields, notes)
    if not function.defined_in(version):
        span = format_version(function.since), format_version(function.until)
        notes.append(f"not in v{format_version(version)}, but in v{span[0]} to v{span[1]}")
    args = registers.at_version(function.args, version)
    if function_id in _FRAMEWORK:
        args = _with_message(args, regs[2], notes)
    elif function_id in _SUCCESS:
        args = (*args, registers.payload(2, registers.last_register(version, is_64=function.is_64)))
    fields = _texts(args, regs, is_64=function.is_64, given=given)
    if function_id not in _SUCCESS:
        prefix = "x" if function.is_64 else "w"
        _oddities(reserved(function_id, version), regs, prefix, notes)
    return Call(function_id, function.name, fields, notes)


def _unknown(function_id: int) -> str:
    """Why nothing is known of the registers of a call."""
    if function_id in fid.KNOWN_BY_NAME:
        return "a call of v1.3 whose registers no public text lays out"
    if fid.is_ffa(function_id):
        return "no call of FF-A"
    owner = smccc.owner(function_id) if smccc.is_fast(function_id) else None
    return _PROVIDED.get(owner, "unknown function") if owner is not None else "unknown function"


def _decode_success(
    call: fid.Function, call_regs: Sequence[int], regs: Sequence[int], version: int
) -> Call:
    reply_id = regs[0] & MASK32
    is_64 = reply_id == fid.FFA_SUCCESS_64
    args = (*_TARGET, *registers.at_version(call.replies, version))
    fields = _texts(args, regs, is_64=is_64)
    asked = call_regs[1] & MASK32
    word = PROPERTIES.get(asked) if call.id == fid.FFA_FEATURES else None
    if word is not None:
        fields = [
            (name, value, str(word(value)) if name == "properties" else content)
            for name, value, content in fields
        ]
    notes: list[str] = []
    checks = reserved_reply(call.id, reply_id, version)
    _oddities(checks, regs, "x" if is_64 else "w", notes)
    return Call(reply_id, fid.function_name(reply_id), fields, notes)


def call_name(function_id: int) -> str:
    """The name of a call of FF-A, SMCCC, PSCI, Hafnium or OP-TEE; its number if it has none."""
    other = None if function_id in fid.FUNCTIONS else _sibling(function_id)
    return fid.function_name(function_id) if other is None else other.name


def decode_reply(
    call_regs: Sequence[int], reply_regs: Sequence[int], version: int = LATEST
) -> Call:
    """The reply in `reply_regs` to the call in `call_regs`."""
    call_regs, regs = _padded(call_regs), _padded(reply_regs)
    call_id = call_regs[0] & MASK32
    call = fid.FUNCTIONS.get(call_id)
    if call is None or call_id == fid.FFA_VERSION:
        return _decode_plain(call_id, regs)
    if regs[0] & MASK32 in _SUCCESS:
        return _decode_success(call, call_regs, regs, version)
    return decode(regs, version)


def _decode_plain(call_id: int, regs: Sequence[int]) -> Call:
    """A reply that is a value in x0, as those of FFA_VERSION, PSCI and Hafnium are."""
    value = regs[0]
    kind = Kind.VALUE
    if call_id in _VERSION_CALLS:
        value &= MASK32
        kind = Kind.VERSION
    elif call_id in psci.FUNCTIONS and (not value or value & 0xFFFF_FF00 == 0xFFFF_FF00):
        kind = Kind.PSCI_STATUS
    result = text(value, Arg("result", 0, kind=kind))
    return Call(call_id, f"{call_name(call_id)} returned", [("result", value, result)], [])


def encode(function_id: int, version: int = LATEST, /, **fields: int) -> list[int]:
    """x0 to x17 of a call with the named fields, zeros elsewhere.

    `payload` and other fields that span registers take one integer, lowest register first.
    ValueError for a field that the version does not define or a value that does not fit.
    """
    function = fid.FUNCTIONS[function_id]
    regs = [function_id, *[0] * 17]
    args = registers.at_version(function.args, version)
    registers.encode(args, regs, fields, is_64=function.is_64)
    return regs


def encode_success(
    call_id: int, version: int = LATEST, /, *, smc64: bool = False, **fields: int
) -> list[int]:
    """x0 to x17 of the FFA_SUCCESS that answers `call_id`, its fields by name."""
    regs = [fid.FFA_SUCCESS_64 if smc64 else fid.FFA_SUCCESS_32, *[0] * 17]
    args = (*_TARGET, *registers.at_version(fid.FUNCTIONS[call_id].replies, version))
    registers.encode(args, regs, fields, is_64=smc64)
    return regs
