"""What the page shows, as columns of plain values that its script reads.

A page has room for `LIMIT` events. Of a longer trace it shows all that is rare (refusals, memory,
deaths, scenes, consoles) and an even sample of the calls with their answers; it says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.firmware.state import events as firmware
from ffabric.machine import events as machine
from ffabric.machine.events import Record
from ffabric.observe.decoding.captions import captions, name_of_kind
from ffabric.observe.lines import Choices, Header, Scene
from ffabric.observe.ownership import Ownership
from ffabric.observe.summary import Summary
from ffabric.observe.timeline import Moment, Timeline
from ffabric.observe.virtqueues import virtqueues

LIMIT: Final = 200_000
"""Events that a page shows at most."""

GROUPS: Final[dict[str, tuple[type[Record], ...]]] = {
    "calls": (machine.Call, machine.Return, firmware.Enter, firmware.Logical),
    "refusals": (firmware.Refuse, firmware.ReservedBits),
    "memory": (
        *(firmware.Share, firmware.Lend, firmware.Donate, firmware.Restore),
        *(firmware.Retrieve, firmware.Relinquish, firmware.Permissions, firmware.Rx),
    ),
    "interrupts": (firmware.Interrupt, firmware.Preempt, firmware.Notification),
    "life": (
        *(machine.Start, machine.Crash, machine.Abort, firmware.Aborted, Header, Scene),
        *(firmware.VmCreated, firmware.VmDestroyed, firmware.VmGone),
    ),
    "console": (firmware.Console,),
    "schedule": (machine.Resume, machine.Slice, machine.Idle),
    "hops": (firmware.Hop, firmware.World),
}
"""Which events can be shown and hidden together."""
OTHERS: Final = "others"
"""The group of kinds that this version does not know."""

_GROUP_OF: dict[type[Record], str] = {
    kind: group for group, kinds in GROUPS.items() for kind in kinds
}
_WAITS = frozenset(
    {
        *(fid.FFA_MSG_WAIT, fid.FFA_YIELD, fid.FFA_MSG_SEND_DIRECT_RESP2),
        *(fid.FFA_MSG_SEND_DIRECT_RESP_32, fid.FFA_MSG_SEND_DIRECT_RESP_64),
    }
)
_FREQUENT = frozenset({"calls", "schedule", "hops"})


class Events(msgspec.Struct):
    """The events in columns, all of one length. What may be absent is -1."""

    t: list[int] = []
    pe: list[int] = []
    lane: list[int] = []
    group: list[int] = []
    end: list[int] = []
    to: list[int] = []
    waits: list[int] = []
    """1 for a call with which a context gives the PE up until others want something of it, or for
    good: only the end of the run ends it, as CPU_OFF."""
    kind: list[str] = []
    text: list[str] = []


class Page(msgspec.Struct):
    """Everything that the script gets."""

    runs: list[dict[str, Any]]
    lanes: list[dict[str, Any]]
    groups: list[str]
    events: Events
    refusals: list[dict[str, Any]]
    memory: list[dict[str, Any]]
    queues: list[dict[str, Any]]
    totals: list[tuple[str, str]]
    left_out: int
    """Events that there was no room for."""


def page_data(lines: Iterable[Record], *, limit: int = LIMIT) -> Page:
    """The data of a page that shows ``lines``."""
    timeline = Timeline().add(lines)
    moments = timeline.moments
    shown = _shown(moments, limit)
    numbers = {number: at for at, number in enumerate(shown)}
    order = {lane: at for at, lane in enumerate(timeline.floors())}
    groups = [*GROUPS, OTHERS]
    events = Events()
    for number, text in captions(timeline, numbers):
        moment = moments[number]
        line = moment.line
        events.t.append(moment.t)
        events.pe.append(_pe(line))
        events.lane.append(-1 if moment.lane is None else order[moment.lane])
        events.group.append(groups.index(_GROUP_OF.get(type(line), OTHERS)))
        events.end.append(_number(numbers, moment.end))
        events.to.append(_number(numbers, moment.to))
        events.waits.append(int(_waits(moment, moments)))
        events.kind.append(name_of_kind(line))
        events.text.append(text)
    return Page(
        runs=_runs(moments, numbers),
        lanes=[
            {"name": lane.name, "secure": lane.secure, "where": lane.where}
            for lane in (timeline.lanes[number] for number in timeline.floors())
        ],
        groups=groups,
        events=events,
        refusals=_refusals(moments, numbers),
        memory=_memory(timeline, numbers),
        queues=_queues(timeline, numbers),
        totals=Summary().add(each.line for each in moments).rows(),
        left_out=sum(_is_shown(each) for each in moments) - len(shown),
    )


def _is_shown(moment: Moment) -> bool:
    return not isinstance(moment.line, Choices)


def _number(numbers: dict[int, int], number: int | None) -> int:
    return -1 if number is None else numbers.get(number, -1)


def _waits(moment: Moment, moments: list[Moment]) -> bool:
    line, end = moment.line, moment.end
    if not isinstance(line, machine.Call):
        return False
    return line.x[0] & MASK32 in _WAITS or (
        end is not None and isinstance(moments[end].line, Header)
    )


def _pe(line: Record) -> int:
    pe = getattr(line, "pe", None)
    return pe if isinstance(pe, int) else -1


def _shown(moments: list[Moment], limit: int) -> list[int]:
    """The numbers of the moments that the page has room for."""
    numbers = [number for number, moment in enumerate(moments) if _is_shown(moment)]
    if len(numbers) <= limit:
        return numbers
    rare = [n for n in numbers if _GROUP_OF.get(type(moments[n].line)) not in _FREQUENT][:limit]
    calls = [n for n in numbers if isinstance(moments[n].line, machine.Call)]
    step = max(1, -(-2 * len(calls) // max(1, limit - len(rare))))
    kept = set(rare)
    for number in calls[::step]:
        end = moments[number].end
        kept |= {number} if end is None else {number, end}
    return sorted(kept)[:limit]


def _runs(moments: list[Moment], numbers: dict[int, int]) -> list[dict[str, Any]]:
    return [
        {"at": numbers[number], "system": moment.line.system, "seed": moment.line.seed}
        for number, moment in enumerate(moments)
        if isinstance(moment.line, Header) and number in numbers
    ]


def _refusals(moments: list[Moment], numbers: dict[int, int]) -> list[dict[str, Any]]:
    """Each rule that refused: what it demands, and which events it is."""
    found: dict[str, dict[str, Any]] = {}
    for number, moment in enumerate(moments):
        line = moment.line
        if isinstance(line, firmware.Refuse):
            rule = found.setdefault(
                line.rule,
                {
                    "rule": line.rule,
                    "status": line.status,
                    "section": line.section,
                    "text": line.text,
                    "events": [],
                },
            )
            if number in numbers:
                rule["events"].append(numbers[number])
    return sorted(found.values(), key=lambda rule: (-len(rule["events"]), rule["rule"]))


def _memory(timeline: Timeline, numbers: dict[int, int]) -> list[dict[str, Any]]:
    """The stretches of memory that changed, with the event since when they are what they are."""
    return [
        {
            "base": f"{each.base:#x}",
            "pages": each.pages,
            "history": [
                [_number(numbers, held.since), held.owner, held.state, list(held.borrowers)]
                for held in each.history
            ],
        }
        for each in Ownership(timeline).stretches()
    ]


def _queues(timeline: Timeline, numbers: dict[int, int]) -> list[dict[str, Any]]:
    """The virtqueues: since which event they have which size, and which events tell of buffers.

    Of those that there was no room for only the number is told.
    """
    return [
        {
            "name": queue.name,
            "driver": queue.driver,
            "history": [[_number(numbers, since), size] for since, size in queue.history],
            "avail": [numbers[each] for each in queue.avail if each in numbers],
            "used": [numbers[each] for each in queue.used if each in numbers],
            "told": [len(queue.avail), len(queue.used)],
        }
        for queue in virtqueues(timeline)
    ]
