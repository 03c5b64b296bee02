"""The partition manager: what the SPMC and the hypervisor share.

A manager owns endpoints and answers their calls. A call is a function from the machine's state to
the context that runs next: a handler reads the caller's registers, changes state, writes the
answer into the registers of whoever is resumed, and returns that context. The other world is a
context too, one per PE: a *gate*. Returning a gate means leaving through it.

What differs between the worlds is behind two protocols, `peer` and `scheduler` (`peer.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ffabric.abi import hafnium
from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa.functions import FFA_VERSION, is_ffa
from ffabric.abi.ffa.status import Status
from ffabric.abi.smccc import FAST_CALL, SVE_HINT
from ffabric.abi.words import MASK32, PAGE
from ffabric.firmware.manager import reserved
from ffabric.firmware.state import events, reply
from ffabric.firmware.state.context import State
from ffabric.firmware.state.interface.call_table import layout_version
from ffabric.firmware.state.interface.conventions import SPECIFICATION
from ffabric.firmware.state.interface.platform_calls import NO_PLATFORM_CALLS
from ffabric.firmware.state.partition import ExecutionContext, Next, Partition
from ffabric.firmware.state.region import Regions
from ffabric.firmware.state.rules import Refused, rule
from ffabric.machine import exits
from ffabric.machine.translation.pages import NoPages

if TYPE_CHECKING:
    from ffabric.abi.ffa.registers import Reserved
    from ffabric.firmware.manager.peer import Peer, Scheduler
    from ffabric.firmware.state.notifications import NotificationState
    from ffabric.machine.context import PE
    from ffabric.machine.events import Tracer
    from ffabric.machine.machine import Machine
    from ffabric.machine.translation.pages import PagePool

UNKNOWN = rule(
    "abi.unknown_function",
    Status.NOT_SUPPORTED,
    "DEN0077A 1.2, section 11.3",
    "The function id is one that the callee implements at this FF-A instance.",
)
MALFORMED = rule(
    "abi.malformed_descriptor",
    Status.INVALID_PARAMETERS,
    "DEN0140 1.2, section 1.10",
    "The descriptor's counts, sizes and offsets lie inside what was transmitted.",
)

NO_TABLES = rule(
    "abi.no_memory_for_tables",
    Status.NO_MEMORY,
    "DEN0077A 1.2, table 11.2",
    "The partition manager has memory left for its translation tables.",
)

REFUSALS = (Refused, DecodeError, NoPages)
"""What ends the handling of a call with FFA_ERROR."""
_ABORTED = State.ABORTED
_SVC = exits.SVC


def as_refused(error: Exception) -> Refused:
    """One of REFUSALS as the rule that it stands for."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, DecodeError):
        return Refused(MALFORMED, str(error), "a well-formed descriptor")
    return Refused(NO_TABLES, str(error), "a page for tables")


M = TypeVar("M")
Handler = Callable[[M, "PE", ExecutionContext], Next]
"""(manager, PE, caller) -> the context that runs next."""


class Manager:
    """Endpoints, their calls, and the gates to the other world."""

    __slots__ = (
        "aliases",
        "conventions",
        "cpus",
        "gates",
        "machine",
        "mei",
        "memory",
        "npi",
        "on_death",
        "on_line",
        "on_refused",
        "partitions",
        "peer",
        "platform",
        "pool",
        "refusals",
        "regions",
        "remote_notifications",
        "scheduler",
        "spm_id",
        "sri",
        "tracer",
        "version",
    )
    # Slots: CPython looks up what has more than thirty attributes the slow way, methods too.

    name = "manager"
    frees_frames = False
    """Whether the memory of an endpoint that is gone is given to others: then its borrowers here
    lose it at once."""

    peer: Peer
    scheduler: Scheduler

    def __init__(
        self, machine: Machine, pool: PagePool, version: int, *, allocator_bit: int = 0
    ) -> None:
        self.machine = machine
        self.memory = machine.memory
        self.pool = pool
        self.version = version
        self.spm_id = 0x8000
        """The endpoint id of the SPMC."""
        self.npi = hafnium.NOTIFICATION_PENDING_INTID
        self.sri = hafnium.SCHEDULE_RECEIVER_INTID
        self.mei = hafnium.MANAGED_EXIT_INTID
        self.platform = NO_PLATFORM_CALLS
        """What it passes on to EL3, which is no matter of the Framework."""
        self.conventions = SPECIFICATION
        """Which rules it waives or adds; of the specification: none."""
        self.regions = Regions(allocator_bit)
        self.partitions: Mapping[int, Partition] = {}
        """Its endpoints by ID: SPs, or VMs."""
        self.aliases: dict[int, int] = {}
        """What else endpoints are called in memory transactions -> their IDs."""
        self.gates: list[ExecutionContext] = []
        self.tracer: Tracer | None = None
        self.on_line: Callable[[str, str], None] | None = None
        """Gets the name of a partition and each line that it logs."""
        self.on_death: Callable[[Partition], None] | None = None
        """Gets each partition that crashes or gives up."""
        self.on_refused: Callable[[PE, Refused], None] | None = None
        """Gets each refusal, and the PE that made the call."""
        self.refusals: dict[str, int] = {}
        self.remote_notifications: dict[int, NotificationState] = {}
        """What the SPMC keeps for VMs (FFA_NOTIFICATION_BITMAP_CREATE), by VM id."""

    def trap(self, pe: PE, caller: ExecutionContext, exit_: int) -> Next:
        """A context of an endpoint has exited to here: if by a call, answer it."""
        if exit_ > _SVC or caller.state is _ABORTED:
            return self.scheduler.exited(pe, caller, exit_)
        x = caller.x
        negotiation = caller.negotiation
        entry = negotiation.entries.get(x[0])
        if entry is None:  # the id is the lower half of x0, perhaps with a hint in it
            function = x[0] & MASK32
            entry = negotiation.entries.get(function)
            if entry is None and function & SVE_HINT and function & FAST_CALL:
                function &= ~SVE_HINT
                entry = negotiation.entries.get(function)
            if entry is None:
                return self._unknown(pe, caller, function)
            x[0] = function
        handler, ends_negotiation, stray = entry
        if ends_negotiation:
            negotiation.ended = True
        try:
            if stray is not None and stray(x):
                partition = caller.partition
                version = layout_version(x[0], partition.version)
                self.clean(pe, caller, version, virtual=partition.calls.virtual)
            return handler(self, pe, caller)
        except REFUSALS as error:
            self.refuse(pe, caller, as_refused(error))
        return caller

    def _unknown(self, pe: PE, caller: ExecutionContext, function: int) -> Next:
        """A call that its FF-A instance does not offer, or that is not of the Framework."""
        if not is_ffa(function):
            return self.scheduler.foreign_call(pe, caller, function)
        self.refuse(pe, caller, Refused(UNKNOWN, function, "a function of this instance"))
        return caller

    def clean(self, pe: PE, caller: ExecutionContext, version: int, *, virtual: bool) -> None:
        """Registers of a call hold what it does not define: refuse that, or report and cut it."""
        reserved.clean(
            caller.x,
            version,
            virtual=virtual,
            conventions=self.conventions,
            report=None if self.tracer is None else partial(self._report, self.tracer, pe, caller),
        )

    @staticmethod
    def _report(
        tracer: Tracer, pe: PE, caller: ExecutionContext, bits: Reserved, value: int
    ) -> None:
        tracer.record(events.reserved_bits(pe, caller, bits, value))

    def refuse(self, pe: PE, caller: ExecutionContext, refusal: Refused) -> None:
        """Answer FFA_ERROR with the status of the rule, and count and show the rule."""
        broken = refusal.rule
        refusal.status = self.conventions.status(broken)
        self.refusals[broken.id] = self.refusals.get(broken.id, 0) + 1
        if self.on_refused is not None:
            self.on_refused(pe, refusal)
        if self.tracer is not None:
            self.tracer.record(events.refusal(pe, caller, refusal))
        if caller.x[0] == FFA_VERSION:
            reply.no_version(caller.x)
        else:
            reply.error(caller.x, refusal.status)

    def notifications_of(self, endpoint: int) -> NotificationState | None:
        """What is kept here of the notifications of an endpoint; None: it does not receive any."""
        own = self.partitions.get(endpoint)
        return self.remote_notifications.get(endpoint) if own is None else own.notifications

    def add_aliases(self, partition: Partition) -> None:
        """Let memory transactions name ``partition`` by its other IDs, too."""
        self.aliases |= dict.fromkeys(partition.aliases, partition.id)

    def remove_aliases(self, partition: Partition) -> None:
        """``partition`` is gone."""
        for alias in partition.aliases:
            self.aliases.pop(alias, None)

    def dispatch(self, pe: PE, ctx: ExecutionContext) -> Next:
        """The scheduler gives `pe` to `ctx`; None: it cannot run now."""
        return self.scheduler.dispatch(pe, ctx)

    def switch(self, pe: PE, nxt: Next) -> None:
        """Let ``pe`` run ``nxt``; not to be called for the PE whose exit is being handled."""
        while nxt is not None and nxt.gate is not None:
            nxt = nxt.gate(pe, nxt)
        if nxt is not pe.current:
            self.machine.schedule(pe, nxt)

    def died(self, partition: Partition) -> None:
        """``partition`` has crashed or given up; ``partition.fate`` says why."""
        if self.on_death is not None:
            self.on_death(partition)

    def console(self, partition: Partition, text: str) -> None:
        """``partition`` has logged a line."""
        if self.on_line is not None:
            self.on_line(partition.name, text)

    def zero(self, runs: list[tuple[int, int, int, int]]) -> None:
        """Clear the physical pages of ``runs`` (IPA, PA, pages, attributes), if they are memory."""
        for _, pa, pages, _ in runs:
            bank = self.memory.bank_at(pa)
            if bank is not None:
                self.memory.zero(pa, pages * PAGE, secure=bank.secure)
