"""The ledger: who owns each page and who reaches it, deduced from the calls alone.

It listens to a system's calls (it is a tracer) and follows those that succeed. It never asks the
firmware what it thinks; after each call it compares what history implies with what the stage-2
tables of all partitions let them reach. What it holds to be true:

- a page is given only by who owns it and shares it with nobody, so it has one owner at a time;
- an endpoint reaches its own pages unless they are lent or donated, and what it has retrieved and
  not relinquished, with no more rights than it was offered and its owner has;
- a call that fails changes nothing;
- what a flag says is cleared reads as zeros.

A success that history forbids, and a table that says something else, raise :class:`Discrepancy`.

A page, from its owner's point of view (shared memory is still reached, the other kinds are not)::

    own -> given -> own          given -> gone      (a donation that was retrieved)
    own <-> mailbox

and from a borrower's: nothing -> borrowed -> nothing, or its own if it was donated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ffabric.abi.ffa import functions as fid
from ffabric.abi.smccc import SMC64
from ffabric.abi.words import MASK32, PAGE
from ffabric.firmware.state.context import State
from ffabric.lab.oracle.accounts import Accounts
from ffabric.lab.oracle.address_spaces import Space
from ffabric.lab.oracle.calls import CALLS, Made, tx_bytes
from ffabric.lab.oracle.ends import ENDS
from ffabric.lab.oracle.isolation import Isolation
from ffabric.lab.oracle.tables import Tables
from ffabric.machine.events import Call, ContextEvent, Event, Return, Tracer

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import ExecutionContext, Partition
    from ffabric.lab.oracle.stage2_reader import Reach
    from ffabric.machine.events import Tracer
    from ffabric.system.endpoint import Endpoint
    from ffabric.system.spec import PartitionSpec
    from ffabric.system.system import System


class Ledger:
    """An account of all pages of a system: ``system.attach(Ledger(system))`` before it runs.

    ``passing`` is another tracer, which hears everything first. ``strict`` compares after each
    call that concerns memory; without it, whoever holds the ledger calls ``check``.
    """

    def __init__(
        self, system: System, *, passing: Tracer | None = None, strict: bool = True
    ) -> None:
        self.system = system
        self.strict = strict
        self._passing = passing
        self._made: dict[ExecutionContext, Made] = {}
        self.tables = Tables(system)
        world = _space(system.firmware.spmc.normal_world, self.tables.world)
        self.accounts = Accounts(system.machine.memory, self.tables, world)
        self._endpoints: list[Endpoint] = []
        self._follow()
        self.isolation = Isolation(system, self.tables)

    def _follow(self) -> None:
        """Endpoints have come, or are gone."""
        known = [*self.system.endpoints.values()]
        if known == self._endpoints:
            return
        former, self._endpoints = self._endpoints, known
        for endpoint in former:
            if endpoint not in known:
                self._leaves(endpoint.partition)
        for endpoint in known:
            if endpoint not in former:
                self._comes(endpoint, initial=not former)

    def _comes(self, endpoint: Endpoint, *, initial: bool) -> None:
        partition = endpoint.partition
        reach, spaces = self.tables.add(partition), self.accounts.spaces
        if reach is self.tables.world:
            spaces[partition] = self.accounts.world
            return
        space = spaces[partition] = _with_buffers(_space(partition, reach), endpoint.spec)
        if initial:
            return
        self.isolation.add(partition, reach)
        for at in space.frames():
            if at in self.accounts.world.marks:
                raise space.wrong(f"gets the page {at:#x}, which is given or borrowed")
            self.accounts.world.renew(at)
        self.accounts.reuse(space.frames())

    def _leaves(self, partition: Partition) -> None:
        space = self.accounts.spaces.pop(partition)
        space.dead = True
        self.isolation.remove(self.tables.remove(partition))
        for ctx in [each for each in self._made if each.partition is partition]:
            del self._made[ctx]

    # What the firmware tells

    def record(self, event: Event) -> None:
        """Follow ``event``, if it is a call, an answer or somebody's end."""
        if self._passing is not None:
            self._passing.record(event)
        handler = _HEARD.get(type(event))
        if handler is not None:
            handler(self, event)

    def _called(self, event: Call) -> None:
        """An endpoint makes a call: keep its registers and what it reads from TX."""
        function = event.x[0] & MASK32
        if function not in CALLS:
            return
        self._follow()
        ctx = self._context(event)
        space = None if ctx is None else self.accounts.spaces.get(ctx.partition)
        if ctx is not None and space is not None:
            words = [function, *event.x[1:8]]
            if not function & SMC64:
                words = [word & MASK32 for word in words]
            self._made[ctx] = Made(words, self.accounts.buffer(space.tx, tx_bytes(words)))

    def _returned(self, event: Return) -> None:
        """A context goes on with the answer to its call: follow what it means."""
        ctx = self._context(event) if self._made else None
        if ctx is not None and ctx in self._made:
            self._answered(ctx)
            if self.strict:
                self.check()

    def _context(self, event: ContextEvent) -> ExecutionContext | None:
        endpoint = self.system.endpoints.get(event.endpoint)
        return None if endpoint is None else endpoint.partition.contexts[event.vcpu]

    def _answered(self, ctx: ExecutionContext) -> None:
        """The answer to the call of ``ctx`` is in its registers."""
        made = self._made.pop(ctx)
        if ctx.x[0] & MASK32 != fid.FFA_ERROR:
            CALLS[made.x[0]](self.accounts, self.accounts.spaces[ctx.partition], made, ctx.x)

    def _catch_up(self) -> None:
        """A vCPU may lose its PE before its answer reaches it: the call is over all the same."""
        for ctx, made in [*self._made.items()]:
            if ctx.state is State.RUNNING and ctx.x[0] & MASK32 != made.x[0]:
                self._answered(ctx)

    def _ends(self, event: Any) -> None:
        """A partition has died, begins anew, is gone, or has other memory."""
        self._follow()
        space = self.accounts.named(event.partition)
        if space is not None:
            ENDS[type(event)](self.accounts, space, event)

    # Comparing

    def check(self) -> None:
        """Raise Discrepancy unless the tables say what history implies, and keep all apart."""
        self._catch_up()
        self._follow()
        self.tables.look()
        for space in self.accounts.everybody():
            space.check()
        self.isolation.check()

    def leave_out(self) -> None:
        """Drop what the tables in memory say as well, until `take_in`; `check` was just now."""
        for space in self.accounts.everybody():
            space.tidy()
        self.tables.leave_out()
        self.isolation.holders.leave_out()

    def take_in(self) -> None:
        """Have it again."""
        self.tables.take_in()
        self.isolation.holders.begin_again()

    def check_isolation(self) -> None:
        """Raise Discrepancy unless the tables keep all apart, whatever history says."""
        self._follow()
        self.tables.look()
        self.isolation.check()

    def check_tables(self) -> None:
        """Raise Discrepancy if a page that a manager took for tables is no table."""
        self._follow()
        self.tables.look()
        self.isolation.check_tables()

    def check_settled(self) -> None:
        """Raise Discrepancy if anything is still given or borrowed, or reached by two."""
        self.accounts.check_settled()


def _space(partition: Partition, reach: Reach) -> Space:
    return Space(partition.name, partition.id, partition.version, reach)


def _with_buffers(space: Space, spec: PartitionSpec) -> Space:
    """Buffers are there from the start if the manifest says which memory they are."""
    if spec.buffers:
        granule = spec.manifest.xlat_granule.bytes
        tx, rx = (
            [*range(base, base + region.pages * granule, PAGE)]
            for region in spec.buffers
            if (base := region.base_address) is not None
        )
        space.give_buffers(tx, rx)
    return space


_HEARD: Final[dict[type[Event], Callable[[Ledger, Any], None]]] = {
    Call: Ledger._called,
    Return: Ledger._returned,
    **dict.fromkeys(ENDS, Ledger._ends),
}
"""Events that the ledger follows."""
