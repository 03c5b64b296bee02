"""What registers or a log line mean, offline.

A line is searched for a known message (``log_messages``) and for a list of registers: a function id
of SMCCC's ranges followed by further numbers, however they are separated, as people print them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ffabric.abi.ffa import calls
from ffabric.abi.ffa.status import from_register
from ffabric.abi.ffa.version import LATEST
from ffabric.firmware import catalogue
from ffabric.firmware.rules import RULES
from ffabric.observe.log_messages import MESSAGES

_NUMBER = re.compile(r"(?<![0-9a-zA-Z_.])(?:0[xX])?([0-9a-fA-F]{1,16})(?![0-9a-zA-Z_.])")
_FUNCTION = re.compile(r"(?<![0-9a-zA-Z])(?:0[xX])?(0{0,8}[8cC][0-9a-fA-F]{7})(?![0-9a-zA-Z])")
_MAX_REGISTERS = 18


def registers(values: Sequence[int], version: int = LATEST) -> list[str]:
    """The call or reply in ``values`` (x0 and on), a line for it and one for each field."""
    call = calls.decode(values, version)
    lines = [f"{call.name} ({call.id:#010x})"]
    lines += [f"  {name} = {text}" for name, _, text in call.fields]
    lines += [f"  note: {note}" for note in call.notes]
    lines += _status(values)
    return lines


def _status(values: Sequence[int]) -> Iterator[str]:
    """For an error: what the status is commonly returned for."""
    if values[0] & 0xFFFFFFFF != 0x84000060 or len(values) < 3:
        return
    status = from_register(values[2])
    if status is None:
        yield f"  {values[2] & 0xFFFFFFFF:#x} is no status of FF-A"
        return
    catalogue.load()
    rules = [rule for rule in RULES if rule.status is status]
    yield f"  {len(rules)} rules answer {status.name}; `--trace` of a run names the one that did"


def line(text: str, version: int = LATEST) -> list[str]:
    """What is known of a log line; empty if nothing is."""
    catalogue.load()
    found: list[str] = []
    for message in MESSAGES:
        match = message.pattern.search(text)
        if match is not None:
            found.append(f"{message.source}: {message.meaning.format(**match.groupdict())}")
            if message.rule:
                rule = RULES[message.rule]
                found.append(f"  rule {rule.id}: {rule.text}")
                found.append(f"  answered with {rule.status.name} ({rule.section})")
            break
    values = find_registers(text)
    if values:
        found += registers(values, version)
    return found


def find_registers(text: str) -> list[int]:
    """The registers printed in ``text``: from the first function id on."""
    start = _FUNCTION.search(text)
    if start is None:
        return []
    values = [int(match.group(1), 16) for match in _NUMBER.finditer(text, start.start())]
    return values[:_MAX_REGISTERS]


def lines(texts: Iterable[str], version: int = LATEST) -> Iterator[tuple[str, list[str]]]:
    """Each line with its explanation; those of which nothing is known are left out."""
    for text in texts:
        explained = line(text, version)
        if explained:
            yield text.rstrip("\n"), explained
