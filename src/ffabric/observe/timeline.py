"""The lines of a trace in relation to each other: lanes, durations, and what leads to what.

Every execution context has a lane, and so has each partition manager that the trace names. A
*moment* is a line with its lane. A call lasts until the moment that answers it, or that ends its
context or the run. A *flow* leads from the call that carries a message, or lends cycles, to the
moment at which its receiver goes on with it::

    vm.0  --- DIRECT_REQ ============================ return ---
                        |                         |
    sp.0  --------------- return === DIRECT_RESP -----------------

A file may hold several runs, each with a header; virtual time goes on from one to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK16, MASK32, SECURE_BIT
from ffabric.firmware.state.events import Enter, Notification, VmCreated
from ffabric.machine.events import Call, ContextEvent, Crash, Event, Record, Resume, Return, Start
from ffabric.observe.lines import Header

_MESSAGES = fid.DIRECT_REQUESTS | {
    fid.FFA_MSG_SEND_DIRECT_RESP_32,
    fid.FFA_MSG_SEND_DIRECT_RESP_64,
    fid.FFA_MSG_SEND_DIRECT_RESP2,
}
_MANAGER = 2
"""The exception level of partition managers, as of lanes of which nothing is known."""


class Lane(msgspec.Struct):
    """A line of the picture: an execution context, or a partition manager."""

    endpoint: str
    """The partition, or the manager."""
    vcpu: int
    """Index of the context."""
    secure: bool
    """Whether it is of the secure world."""
    level: int
    """Its exception level, 0 to 2."""

    @property
    def name(self) -> str:
        """The name of the context, as in ``vm.0``."""
        return f"{self.endpoint}.{self.vcpu}"

    @property
    def where(self) -> str:
        """World and exception level, as in ``NS-EL1``."""
        return f"{'S' if self.secure else 'NS'}-EL{self.level}"


class Moment(msgspec.Struct):
    """A line of the trace, where it belongs."""

    line: Record
    """What happened."""
    t: int
    """When: nanoseconds since the first run began."""
    lane: int | None = None
    """The number of its lane; None: it belongs to no context."""
    end: int | None = None
    """Of a call: the number of the moment that ends it; None: nothing did."""
    to: int | None = None
    """Where a flow leads from here: the number of the moment."""


class Timeline:
    """The moments of a trace, in the order of its lines."""

    def __init__(self) -> None:
        self.lanes: list[Lane] = []
        self.moments: list[Moment] = []
        self.duration = 0
        """Nanoseconds of all runs together."""
        self._numbers: dict[tuple[str, int], int] = {}
        self._ids: dict[int, str] = {}
        self._endpoints: dict[str, int] = {}
        self._levels: dict[str, int] = {}
        self._secure: set[str] = set()
        self._began = 0
        self._open: dict[int, int] = {}
        """By lane: the call that is not answered."""
        self._sent: dict[tuple[int, int, int], int] = {}
        """By PE, function and ids: the call whose message has not been received."""
        self._lent: dict[int, int] = {}
        """By PE: the FFA_RUN after which nothing has run yet."""

    def add(self, lines: Iterable[Record]) -> Timeline:
        """Take ``lines`` in."""
        for line in lines:
            if isinstance(line, Header):
                self._header(line)
            t = line.t + self._began if isinstance(line, Event) else self.duration
            self.duration = max(self.duration, t)
            moment = Moment(line, t)
            number = len(self.moments)
            self.moments.append(moment)
            if isinstance(line, ContextEvent):
                moment.lane = self.lane(line.endpoint, line.vcpu)
            relate = _RELATIONS.get(type(line))
            if relate is not None:
                relate(self, number, moment, line)
        return self

    def lane(self, endpoint: str, vcpu: int) -> int:
        """The number of the lane of a context."""
        number = self._numbers.get((endpoint, vcpu))
        if number is None:
            number = self._numbers[endpoint, vcpu] = len(self.lanes)
            id_ = self._endpoints.get(endpoint, 0)
            secure = bool(id_ & SECURE_BIT) or endpoint in self._secure
            default = 1 if endpoint in self._endpoints else _MANAGER
            level = self._levels.get(endpoint, default)
            self.lanes.append(Lane(endpoint, vcpu, secure, level))
        return number

    def names(self) -> dict[int, str]:
        """The names of the endpoints by id."""
        return {number: name for name, number in self._endpoints.items()}

    def floors(self) -> list[int]:
        """The numbers of the lanes as a picture has them, by world, level, endpoint and vCPU.

        The normal world comes first, from its lowest level to EL2; then the secure world from its
        highest down, so that the two managers are neighbours.
        """
        first: dict[str, int] = {}
        for lane in self.lanes:
            first.setdefault(lane.endpoint, len(first))

        def place(number: int) -> tuple[bool, int, int, int]:
            lane = self.lanes[number]
            level = -lane.level if lane.secure else lane.level
            return lane.secure, level, first[lane.endpoint], lane.vcpu

        return sorted(range(len(self.lanes)), key=place)

    def _header(self, line: Header) -> None:
        self._began = self.duration
        for call in self._open.values():
            self.moments[call].end = len(self.moments)
        self._endpoints.update(line.endpoints)
        self._levels.update(line.levels)
        self._secure.update(line.secure)
        self._ids = {number: name for name, number in line.endpoints.items()}
        self._open.clear()
        self._sent.clear()
        self._lent.clear()

    def _call(self, number: int, moment: Moment, line: Call) -> None:
        assert moment.lane is not None
        self._open[moment.lane] = number
        function = line.x[0] & MASK32
        if function in _MESSAGES:
            self._sent[line.pe, function, line.x[1] & MASK32] = number
        elif function == fid.FFA_RUN:
            self._lent[line.pe] = number

    def _return(self, number: int, moment: Moment, line: Return) -> None:
        self._arrive(number, moment, line.pe)
        self._close(number, moment)
        sender = self._sent.pop((line.pe, line.x[0] & MASK32, line.x[1] & MASK32), None)
        if sender is not None and self.moments[sender].lane != moment.lane:
            self.moments[sender].to = number

    def _goes_on(self, number: int, moment: Moment, line: Resume) -> None:
        """A receiver whose waiting the recording has not heard of goes on without an answer."""
        self._arrive(number, moment, line.pe)
        me = self._endpoints.get(line.endpoint)
        for pe, function, ids in [*self._sent]:
            if pe == line.pe and ids & MASK16 == me:
                self.moments[self._sent.pop((pe, function, ids))].to = number

    def _arrive(self, number: int, moment: Moment, pe: int) -> None:
        """What runs first on a PE after FFA_RUN is what it runs."""
        lender = self._lent.pop(pe, None)
        if lender is not None and self.moments[lender].lane != moment.lane:
            self.moments[lender].to = number

    def _close(self, number: int, moment: Moment, _line: object = None) -> None:
        assert moment.lane is not None
        call = self._open.pop(moment.lane, None)
        if call is not None:
            self.moments[call].end = number

    def _notified(self, _number: int, moment: Moment, line: Notification) -> None:
        name = self._ids.get(line.receiver)
        if name is not None:
            moment.lane = self.lane(name, line.vcpu or 0)

    def _created(self, _number: int, moment: Moment, line: VmCreated) -> None:
        self._endpoints[line.partition] = line.endpoint
        self._ids[line.endpoint] = line.partition
        moment.lane = self.lane(line.partition, 0)


_RELATIONS: dict[type[Record], Callable[[Timeline, int, Moment, Any], None]] = {
    Call: Timeline._call,
    Return: Timeline._return,
    Resume: Timeline._goes_on,
    Start: Timeline._close,
    Enter: Timeline._close,
    Crash: Timeline._close,
    Notification: Timeline._notified,
    VmCreated: Timeline._created,
}
