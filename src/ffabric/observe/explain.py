"""What registers or a log line mean, offline.

A line is searched for a known message (``messages``) and for a list of registers: a function id and
the numbers that follow it, however they are separated and labelled, as people print them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache

from ffabric.abi import hafnium, lfa, psci, smccc
from ffabric.abi.ffa import calls
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.ffa.uuids import from_pair
from ffabric.abi.ffa.version import LATEST, VERSIONS, format_version
from ffabric.abi.optee import smc, tee
from ffabric.abi.words import MASK32, MASK64
from ffabric.firmware.state.rules import Rule

_LABEL = re.compile(r"\b[axwrAXWR]\d{1,2}\s*(?:[:=]\s*|(?=\s0[xX]))")
_ID = re.compile(r"(?<![0-9a-zA-Z])(?:0[xX])?0{0,8}([38bcBC][0-9a-fA-F]{7})(?![0-9a-zA-Z])")
_NUMBER = re.compile(
    r"(?<![\w.])(-?)"
    r"(?:0[xX]([0-9a-fA-F]{1,16})|(?=[a-fA-F]*\d|[a-fA-F]{8}\b|[a-fA-F]{16}\b)([0-9a-fA-F]{1,16}))"
    r"(?!\w)"
)
_WORD = re.compile(r"[A-Za-z]")
_TEXT = re.compile(r"[g-qs-vyzG-QS-VYZ]")
"""A letter of every message, but of no number and no label of a register."""
_ABOUT_FFA = re.compile(
    r"(?i)\b(arm_|optee[-_])?ff-?a\b|ffa_|\bspm[cd]?\b|hafnium|secure partition"
)
_NEGATIVE = re.compile(r"(?<![\w.-])(?:-\d{1,3}|0[xX][fF]{7}(?:[fF]{8})?[0-9a-fA-F])(?![\w.])")
_ENDPOINT = re.compile(
    r"(?i)\b(?:from|to|src|dst|source|destination|sender|receiver|endpoint|ep|vm|sp|partition|owner"
    r"|borrower)(?:[ _]?id)?[ :=#]{1,3}(0x[0-9a-f]{1,4})(?!\w)"
)
_MAX_REGISTERS = 18
_SPMC = 0x8000
"""Its id, if its manifest says no other."""
_SIBLINGS = (smccc.FUNCTIONS, psci.FUNCTIONS, hafnium.FUNCTIONS, smc.FUNCTIONS, lfa.FUNCTIONS)
_TRUSTED = (smccc.Owner.TRUSTED_APPLICATION, smccc.Owner.TRUSTED_OS)
_ADDRESSES = frozenset({0x80000000, 0xC0000000})
"""Function ids that in a log are rather the start of a memory bank."""
_SENDS = ("share", "lend", "donate")

_ERRNO = {
    -95: ("EOPNOTSUPP", Status.NOT_SUPPORTED),
    -22: ("EINVAL", Status.INVALID_PARAMETERS),
    -12: ("ENOMEM", Status.NO_MEMORY),
    -16: ("EBUSY", Status.BUSY),
    -4: ("EINTR", Status.INTERRUPTED),
    -13: ("EACCES", Status.DENIED),
    -11: ("EAGAIN", Status.RETRY),
    -125: ("ECANCELED", Status.ABORTED),
    -61: ("ENODATA", Status.NO_DATA),
}
"""Linux's arm_ffa driver: error -> its name, the FF-A status that it stands for."""


def registers(values: Sequence[int], version: int = LATEST) -> list[str]:
    """The call or reply in ``values`` (x0 and on): a line for it and one for each field.

    Empty for what is neither; a single value may be a result too (a status, a version).
    """
    function = values[0] & MASK32
    if not _is_known(function):
        return _foreign(values)
    call = calls.decode(values, version, partly=True)
    lines = [f"{call.name} ({call.id:#010x})"]
    said = _virtio_message(function, values)
    lines += [
        f"  {name} = {text}"
        for name, _, text in call.fields
        if not (said and name.removeprefix("x").isdigit())
    ]
    if said:
        lines.append(f"  virtio-msg: {said}")
    lines += [f"  note: {note}" for note in call.notes]
    if function == fid.FFA_ERROR and len(values) > 2:
        lines.append(_reasons(values[2] & MASK32))
    return lines


def _virtio_message(function: int, values: Sequence[int]) -> str:
    """What a direct request says to a service of virtio-msg; nothing if it is for another."""
    if function != fid.FFA_MSG_SEND_DIRECT_REQ2 or len(values) < _MAX_REGISTERS:
        return ""
    from ffabric.observe.decoding import virtio_msg  # noqa: PLC0415 - most registers are not of it

    known = from_pair(values[2], values[3]) in virtio_msg.UUIDS
    return virtio_msg.registers(values[4:_MAX_REGISTERS]) if known else ""


def _foreign(values: Sequence[int]) -> list[str]:
    """What can be said of an x0 that is no call known by name."""
    word = values[0] & MASK32
    status = from_register(word)
    if len(values) == 1 and status is not None and status < 0:
        return [f"{status.name} ({status:d}), as a result of FF-A", _reasons(word)]
    if word in VERSIONS:
        return [f"{format_version(word)}, as the result of FFA_VERSION ({word:#x})"]
    entity = smccc.owner(word)
    fast = smccc.is_fast(word)
    if entity is None or word >> 16 & 0xFF or not (fast or entity in _TRUSTED):
        return []
    kind = f"{'fast' if fast else 'yielding'} {'SMC64' if smccc.is_smc64(word) else 'SMC32'} call"
    whose = entity.name.lower().replace("_", " ")
    return [f"{kind} {smccc.number(word):#x} of the owner {whose} ({word:#010x})"]


@cache
def _reasons(word: int) -> str:
    """How many rules are answered with the status in ``word``."""
    status = from_register(word)
    if status is None:
        return f"  {word:#x} is not a status code of FF-A"
    from ffabric.firmware.catalogue import RULES  # noqa: PLC0415 - all of the firmware

    count = sum(rule.status is status for rule in RULES)
    return f"  {count} rules answer {status.name}; `--trace` of a run names the one that did"


def line(text: str, version: int = LATEST) -> list[str]:
    """What is known of a log line; empty if nothing is."""
    found = _message(text) if _TEXT.search(text) else []
    values = find_registers(text)
    if values:
        found += registers(values, version)
    if len(found) == 1 or not found:  # a name alone, or nothing
        found += loose_values(text)
    return found


def lines(texts: Iterable[str], version: int = LATEST) -> Iterator[tuple[str, list[str]]]:
    """Each line with its explanation; those of which nothing is known are left out."""
    for text in texts:
        explained = line(text, version)
        if explained:
            yield text.rstrip("\r\n"), explained


def _message(text: str) -> list[str]:
    from ffabric.observe import messages  # noqa: PLC0415 - who explains registers needs none

    known = messages.find(text)
    if known is None:
        return []
    message, words = known
    found = [f"{message.source}: {message.meaning.format(**words)}"]
    found += [_WORDS[name](word) for name, word in words.items() if name in _WORDS]
    if message.rule:
        found += _rule_lines(message.rule)
    return [each for each in found if each]


def find_registers(text: str) -> list[int]:
    """The registers printed in ``text``: a known function id and the numbers right behind it.

    Numbers with other words in between are no registers: nobody knows which they would be.
    """
    for start in _ID.finditer(text):
        function = int(start.group(1), 16)
        if _is_known(function) and function not in _ADDRESSES:
            rest = _LABEL.sub(" ", text[start.start() :])
            values: list[int] = []
            end = 0
            for match in _NUMBER.finditer(rest):
                if values and _WORD.search(rest[end : match.start()]):
                    break
                values.append(_value(match))
                end = match.end()
            return values[:_MAX_REGISTERS]
    return []


def loose_values(text: str) -> list[str]:
    """What single values in a line of FF-A software mean: statuses, and ids of endpoints."""
    if not _ABOUT_FFA.search(text) and not find_registers(text):
        return []
    found = []
    for match in _NEGATIVE.finditer(text):
        word = match.group()
        number = int(word, 16) - (1 << 4 * (len(word) - 2)) if word[:1] == "0" else int(word)
        status = from_register(number & MASK32)
        if status is not None and status < 0:
            found.append(f"  {word} is {status.name}")
        elif number in _ERRNO:
            found.append(_errno(str(number)))
    for match in _ENDPOINT.finditer(text):
        number = int(match.group(1), 0)
        found.append(f"  {match.group(1)} is the id of {_whose(number)}")
    return list(dict.fromkeys(found))


def _whose(endpoint: int) -> str:
    if endpoint & 0x8000:
        return "the SPMC, or of an SP" if endpoint == _SPMC else "an SP"
    return "a VM" if endpoint else "the hypervisor, or of a kernel without one"


def _is_known(function: int) -> bool:
    return fid.is_ffa(function) or any(function in table for table in _SIBLINGS)


def _value(match: re.Match[str]) -> int:
    sign, prefixed, bare = match.groups()
    if prefixed is not None:
        value = int(prefixed, 16)
    else:
        value = int(bare, 10 if sign and bare.isdigit() else 16)
    return -value & MASK64 if sign else value


@cache
def rules_of(name: str) -> tuple[Rule, ...]:
    """The rules that a message's rule id names: one, or those of share, lend and donate."""
    from ffabric.firmware.catalogue import RULES  # noqa: PLC0415 - all of the firmware

    prefix, _, rest = name.partition(".send.")
    names = [f"{prefix}.{send}.{rest}" for send in _SENDS] if rest else [name]
    return tuple(RULES[each] for each in names if each in RULES)


def _rule_lines(name: str) -> list[str]:
    first, *others = rules_of(name)
    also = f" (and {', '.join(rule.id for rule in others)})" if others else ""
    return [
        f"  rule {first.id}{also}: {first.text}",
        f"  ffabric answers {first.status.name} ({first.section})",
    ]


def _errno(word: str) -> str:
    known = _ERRNO.get(_number(word) or 0)
    return "" if known is None else f"  {word} ({known[0]}) stands for {known[1].name}"


def _status(word: str) -> str:
    status = from_register((_number(word) or 0) & MASK32)
    return "" if status is None else f"  {word} is {status.name}"


def _function(word: str) -> str:
    number = _number(word)
    if number is None or not _is_known(number & MASK32):
        return ""
    return f"  {word} is {calls.decode([number]).name}"


def _tee_result(word: str) -> str:
    number = (_number(word) or 0) & MASK32
    if not number:
        return f"  {word} is TEE_SUCCESS"
    name = tee.result_name(number)
    return "" if name.startswith("0x") else f"  {word} is TEE_ERROR_{name}"


def _tee_origin(word: str) -> str:
    name = tee.origin_name(_number(word) or 0)
    return "" if name.isdigit() else f"  {word} is TEE_ORIGIN_{name}"


def _number(word: str) -> int | None:
    try:
        return int(word, 0)
    except ValueError:
        return None


_WORDS: dict[str, Callable[[str], str]] = {
    "errno": _errno,
    "status": _status,
    "function": _function,
    "tee_result": _tee_result,
    "tee_origin": _tee_origin,
}
"""Names in templates that say more than their word -> what."""
