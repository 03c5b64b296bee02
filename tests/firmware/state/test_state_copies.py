"""The state of a system is data: a copy of a running one goes on as the original does."""

import gc
from enum import Enum
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)

import pytest
from likeness import difference
from walk_sides import Walk

BEFORE, AFTER = 60, 60
CODE = (
    *(type, FunctionType, BuiltinFunctionType, CodeType, ModuleType, MethodDescriptorType),
    *(GetSetDescriptorType, MemberDescriptorType, WrapperDescriptorType, property),
)
VALUES = (int, float, str, bytes, type(None), Enum, range)


class Listener:
    """A tracer that keeps what it hears."""

    def __init__(self, system):
        self.heard = []
        system.attach(self)

    def record(self, event):
        self.heard.append(event)


@pytest.fixture(params=range(10))
def walks(request):
    """A walk that has taken some steps, and one that goes on in a copy of its system."""
    walk = Walk(request.param, exchanging=True)
    for _ in range(BEFORE):
        walk.step()
    other = walk.copied()
    yield walk, other
    walk.session.close()
    other.session.close()


def test_a_copy_is_in_the_state_of_the_original(walks):
    walk, other = walks
    assert difference(walk.system, other.system) is None


def test_original_and_copy_go_on_alike(walks):
    heard = [Listener(walk.system) for walk in walks]
    for walk in walks:
        for _ in range(AFTER):
            walk.step()
    assert heard[0].heard == heard[1].heard
    assert difference(walks[0].system, walks[1].system) is None


def test_what_one_does_the_other_does_not_notice(walks):
    walk, other = walks
    with_original = other.copied()
    for _ in range(AFTER):
        walk.step()
    try:
        assert difference(other.system, with_original.system) is None
    finally:
        with_original.session.close()


def reachable(root):
    """All that `root` refers to and that can change, by identity."""
    found, todo = {}, [root]
    while todo:
        each = todo.pop()
        if id(each) not in found and not isinstance(each, CODE + VALUES):
            found[id(each)] = each
            todo += gc.get_referents(each)
    return found


def test_original_and_copy_share_descriptions_alone(walks):
    walk, other = walks
    mine, others = reachable(walk.system), reachable(other.system)
    endpoints = walk.system.endpoints.values()
    specs = [walk.system.spec, *((each.spec, each.staged) for each in endpoints)]
    described = reachable(specs)
    shared = [each for at, each in mine.items() if at in others and at not in described]
    kinds = {type(each).__name__ for each in shared}
    assert kinds <= {
        "CallTable",
        "Entries",
        "Kind",
        "Rule",
        "UUID",
        "PartitionCrashed",
        "tuple",
        "dict",
        "frozenset",
    }
