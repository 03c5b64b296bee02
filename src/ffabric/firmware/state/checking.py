"""Whether execution contexts do what their table says, for whoever wants to know.

A verb trusts its user, because a check on each call would cost more than the verb. `checked` lets
every verb compare what it does with its row while a test or a campaign runs; `judge` looks at all
contexts of a partition manager between two exits, and knows what always holds (`context.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple

from ffabric.firmware.state.context import FIELDS, TABLE, ChainedContext, Model, State
from ffabric.firmware.state.transitions import Becomes, Part, Verb

_LENT = (Model.RUN, Model.DIR_REQ)
_RUNS = (State.RUNNING, State.STARTING)


class BrokenChainError(AssertionError):
    """A context is not what the table of execution contexts says: a fault of the firmware."""


class Move(NamedTuple):
    """What a verb has done to one of its contexts."""

    verb: str
    before: State
    after: State


@contextmanager
def checked(seen: set[Move] | None = None) -> Iterator[None]:
    """Compare what each verb does with its row; BrokenChainError is raised where they differ.

    `seen` gets what was done.
    """
    moves: set[Move] = set() if seen is None else seen
    methods = {name: getattr(ChainedContext, name) for name in TABLE.verbs}
    for name, method in methods.items():
        setattr(ChainedContext, name, _checking(TABLE.verbs[name], method, moves))
    try:
        yield
    finally:
        for name, method in methods.items():
            setattr(ChainedContext, name, method)


def _checking(verb: Verb[State], method: Callable[..., Any], seen: set[Move]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: ChainedContext, *args: Any, **options: Any) -> Any:
        other = getattr(self, verb.through) if verb.through else args[0] if verb.other else None
        sides = [(self, verb.own, other), (other, verb.other, self)]
        before = [_fields(ctx) for ctx, _, _ in sides]
        for ctx, part, _ in sides:
            if ctx is not None and part is not None and part.moves and ctx.state not in part.moves:
                raise BrokenChainError(f"{verb.name}: {ctx.name} is {ctx.state.value}")
        found = method(self, *args, **options)
        for (ctx, part, partner), was in zip(sides, before, strict=True):
            if ctx is not None and part is not None:
                _compare(verb, ctx, part, partner, was)
                seen.add(Move(verb.name, was["state"], ctx.state))
        return found

    return call


def _fields(ctx: ChainedContext | None) -> dict[str, Any]:
    return {} if ctx is None else {field: getattr(ctx, field) for field in FIELDS}


def _compare(
    verb: Verb[State],
    ctx: ChainedContext,
    part: Part[State],
    partner: ChainedContext | None,
    was: dict[str, Any],
) -> None:
    wanted = was | {"state": part.moves.get(was["state"], was["state"])}
    for field, value in part.sets.items():
        if value is Becomes.OTHER:
            wanted[field] = partner
        elif value is Becomes.GIVEN:
            wanted[field] = getattr(ctx, field)
        elif value is not Becomes.LENDER:
            wanted[field] = value
        elif was["model"] is Model.RUN:
            wanted[field] = partner
    is_now = _fields(ctx)
    if is_now != wanted:
        wrong = [field for field in FIELDS if is_now[field] != wanted[field]]
        raise BrokenChainError(f"{verb.name}: not as the row of {ctx.name} says in {wrong}")


def judge(
    contexts: Iterable[ChainedContext], *, away: Container[ChainedContext] | None = None
) -> None:
    """Raise BrokenChainError unless all holds that always does of all contexts of a manager.

    `away`: of a hypervisor, those that wait for an SMC; None: the manager is an SPMC.
    """
    contexts = list(contexts)
    broken = [text for ctx in contexts for text, holds in _laws(ctx, away or ()) if not holds]
    if away is None:
        broken += _sharing_a_pe(contexts)
    if broken:
        raise BrokenChainError("; ".join(broken))


def _sharing_a_pe(contexts: list[ChainedContext]) -> Iterator[str]:
    seen: dict[int, ChainedContext] = {}
    for ctx in contexts:
        if ctx.state in _RUNS and ctx.pe is not None:
            other = seen.setdefault(ctx.pe.index, ctx)
            if other is not ctx:
                yield f"{ctx.name} and {other.name} run on PE {ctx.pe.index}"


def _laws(ctx: ChainedContext, away: Container[ChainedContext]) -> Iterator[tuple[str, bool]]:
    name, state, caller, callee = ctx.name, ctx.state, ctx.caller, ctx.callee
    alive = caller is not None and caller.state is not State.ABORTED
    if state is State.RUNNING and caller is not None and alive:
        yield f"{name} runs, {caller.name} is not BLOCKED on it", _waits(caller, ctx)
        yield f"{name} and its caller are on different PEs", caller.pe is ctx.pe
    if state is State.BLOCKED and not ctx.yielded:
        yield f"{name} is BLOCKED on nobody", callee is not None or ctx in away
    if state is not State.ABORTED:
        lent = ctx.model in _LENT
        yield f"{name} has a caller under {ctx.model.value}", lent == (caller is not None)
        asked = ctx.model is Model.DIR_REQ
        yield f"{name} has a request under {ctx.model.value}", asked or not ctx.request
    if ctx.yielded:
        yield f"{name} has yielded and is {state.value}", state is State.BLOCKED
    if ctx.handler is not None:
        stopped = state in (State.PREEMPTED, State.ABORTED)
        yield f"{name} is {state.value}, interrupted for a handler", stopped
        yield f"{name} is not what its handler interrupted", ctx.handler.interrupted is ctx
    if ctx.interrupted is not None:
        yield f"{name} is not the handler of what it interrupted", ctx.interrupted.handler is ctx
    if state in (State.WAITING, State.OFF):
        free = caller is None and ctx.interrupted is None and not ctx.request
        yield f"{name} is {state.value} in a chain", free
        yield f"{name} is {state.value} under {ctx.model.value}", ctx.model is Model.NONE
    yield f"the chain of {name} has a cycle", _ends(ctx)


def _waits(caller: ChainedContext, ctx: ChainedContext) -> bool:
    return caller.state is State.BLOCKED and caller.callee is ctx


def _ends(ctx: ChainedContext) -> bool:
    seen = set()
    link: ChainedContext | None = ctx
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link = link.caller
    return link is None
