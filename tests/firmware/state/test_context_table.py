"""The table of execution contexts: nobody else changes them, and whoever breaks a row is caught."""

import ast
from pathlib import Path

import pytest

import ffabric
from ffabric.firmware.state.checking import BrokenChainError, checked, judge
from ffabric.firmware.state.context import FIELDS, TABLE, ChainedContext, Model, State
from ffabric.machine.context import PE

ROOT = Path(ffabric.__file__).parent
HOME = ROOT / "firmware" / "state" / "context.py"
NO_CONTEXTS = {"cpu", "run", "thread", "transaction"}
"""What is called so has a field of such a name and is no context, as in `cpu.caller`."""
REQ = 0x8400006F


def assigned(path):
    """The attributes of others than `self` that a file assigns or deletes: (name, attribute)."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else ast.unparse(owner)
            if name not in NO_CONTEXTS | {"self"}:
                yield name, node.attr


def test_nothing_but_the_table_changes_what_is_in_it():
    found = {
        (str(path.relative_to(ROOT)), name, field)
        for path in ROOT.rglob("*.py")
        if path != HOME
        for name, field in assigned(path)
        if field in FIELDS
    }
    assert found == set()


def test_the_class_of_a_context_leaves_the_table_to_its_base():
    tree = ast.parse((HOME.parent / "partition.py").read_text("utf-8"))
    own = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
           and isinstance(node.ctx, ast.Store)}  # fmt: skip
    assert own.isdisjoint(FIELDS)


def test_every_state_is_reached_and_left():
    moves = [
        (before, after)
        for verb in TABLE.verbs.values()
        for part in (verb.own, verb.other)
        if part is not None
        for before, after in part.moves.items()
        if before is not after
    ]
    assert {after for _, after in moves} == set(State)
    assert {before for before, _ in moves} == set(State)


def context(name, state=State.WAITING, pe=None):
    """A context in `state` that has been in no chain yet."""
    ctx = ChainedContext(name, 0, secure=True)
    pe = pe or PE(0, 0)
    if state is State.RUNNING:
        ctx.power_on(pe)
    elif state is State.ABORTED:
        ctx.abort()
    elif state is not State.OFF:
        ctx.initialise(pe)
        if state is State.WAITING:
            ctx.wait()
    assert ctx.state is state
    return ctx


def test_a_verb_whose_row_holds_passes():
    caller, receiver = context("a", State.RUNNING), context("b")
    with checked():
        caller.ask(receiver, caller.pe, REQ, 1)
        receiver.answer(caller, caller.pe)
    assert (caller.state, receiver.state) == (State.RUNNING, State.WAITING)
    judge([caller, receiver])


@pytest.mark.parametrize("state", [State.OFF, State.STARTING, State.RUNNING, State.ABORTED])
def test_a_verb_in_a_state_that_its_row_lacks_is_caught(state):
    caller, receiver = context("a", State.RUNNING), context("b", state)
    with checked(), pytest.raises(BrokenChainError, match=f"ask: b is {state.value}"):
        caller.ask(receiver, caller.pe, REQ, 1)


def test_verbs_are_what_they_were_when_nobody_checks_any_more():
    method = ChainedContext.ask
    with checked():
        assert ChainedContext.ask is not method
    assert ChainedContext.ask is method


def test_a_verb_that_does_something_else_than_its_row_is_caught(monkeypatch):
    def wrong(self, caller, pe):
        self.state, caller.state = State.WAITING, State.RUNNING

    caller, receiver = context("a", State.RUNNING), context("b")
    caller.ask(receiver, caller.pe, REQ, 1)
    monkeypatch.setattr(ChainedContext, "answer", wrong)
    with checked(), pytest.raises(BrokenChainError, match="answer: not as the row of b"):
        receiver.answer(caller, caller.pe)


def in_chain():
    """A context that has asked another one, in this order."""
    caller, receiver = context("a", State.RUNNING), context("b")
    caller.ask(receiver, caller.pe, REQ, 1)
    return caller, receiver


BROKEN = {
    "a caller that is not BLOCKED": lambda a, b: setattr(a, "state", State.PREEMPTED),
    "a caller with another callee": lambda a, b: setattr(a, "callee", None),
    "two that run": lambda a, b: setattr(a, "state", State.RUNNING),
    "two PEs": lambda a, b: setattr(a, "pe", PE(1, 1)),
    "a caller without a reason": lambda a, b: setattr(b, "model", Model.NONE),
    "a request without a caller": lambda a, b: setattr(b, "caller", None),
    "a request without a reason": lambda a, b: setattr(a, "request", REQ),
    "WAITING in a chain": lambda a, b: setattr(b, "state", State.WAITING),
    "yielded and running": lambda a, b: setattr(b, "yielded", True),
    "a handler that knows nothing of it": lambda a, b: setattr(a, "handler", b),
    "one that was interrupted and does not know": lambda a, b: setattr(b, "interrupted", a),
    "a cycle": lambda a, b: setattr(a, "caller", b),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_always_holds_is_judged(fault):
    caller, receiver = in_chain()
    judge([caller, receiver])
    BROKEN[fault](caller, receiver)
    with pytest.raises(BrokenChainError):
        judge([caller, receiver])
