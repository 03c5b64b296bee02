"""What a run is to go on until: a rule that refuses, a call, a page that changes hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32, PAGE
from ffabric.firmware.state.events import BorrowerEvent, OwnerEvent, Refuse
from ffabric.firmware.state.rules import RULES
from ffabric.machine.events import Call, Event
from ffabric.system.options.problems import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable


def matcher(what: str) -> Callable[[Event], bool]:
    """Whether an event is what ``what`` says; see `ffabric.History.until`. Raises ValueError."""
    if any(rule.id.startswith(what) for rule in RULES) and not what.startswith("0x"):
        return lambda event: isinstance(event, Refuse) and event.rule.startswith(what)
    functions = {each.name: number for number, each in fid.FUNCTIONS.items()}
    if what.upper().startswith("FFA_"):
        wanted = {
            n for name, n in functions.items() if name in (what.upper(), f"{what.upper()}_32")
        }
        wanted |= {n for name, n in functions.items() if name == f"{what.upper()}_64"}
        if not wanted:
            raise ValueError(f"there is no call {what!r}{did_you_mean(what.upper(), functions)}")
        return lambda event: isinstance(event, Call) and event.x[0] & MASK32 in wanted
    try:
        number = int(what, 0)
    except ValueError:
        rules = [rule.id for rule in RULES]
        hint = did_you_mean(what, rules)
        raise ValueError(f"{what!r} is not a rule, a call or an address{hint}") from None
    if number in fid.FUNCTIONS:
        return lambda event: isinstance(event, Call) and event.x[0] & MASK32 == number
    return lambda event: any(pa <= number < pa + n * PAGE for pa, n in _memory_of(event))


def _memory_of(event: Event) -> list[tuple[int, int]]:
    """Physical addresses and pages that change hands with an event."""
    if isinstance(event, OwnerEvent):
        return [*event.physical]
    if isinstance(event, BorrowerEvent):
        return [(pa, pages) for _, pa, pages in event.ranges]
    return []
