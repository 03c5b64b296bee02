"""The state machine of an interrupt against the transitions of Arm IHI 0069, figure 4-3."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.machine.gic import GROUP0, GROUP1NS, GROUP1S, InterruptBank, State

IDLE, P, A, AP = State.INACTIVE, State.PENDING, State.ACTIVE, State.ACTIVE_PENDING

# What is not listed leaves the state alone.
EDGE = {
    (IDLE, "raise"): P,
    (IDLE, "set"): P,
    (P, "clear"): IDLE,
    (P, "acknowledge"): A,
    (A, "raise"): AP,
    (A, "set"): AP,
    (A, "deactivate"): IDLE,
    (AP, "clear"): A,
    (AP, "acknowledge"): A,
    (AP, "deactivate"): P,
}

# A level-sensitive interrupt by what makes it pending: nothing, the line, a set-pending, or both.
NONE, LINE, LATCH, BOTH = "none", "line", "latch", "both"
LEVEL_PENDING = {
    (NONE, "raise"): LINE,
    (NONE, "set"): LATCH,
    (LINE, "lower"): NONE,
    (LINE, "set"): BOTH,
    (LATCH, "raise"): BOTH,
    (LATCH, "clear"): NONE,
    (LATCH, "acknowledge"): NONE,
    (BOTH, "lower"): LATCH,
    (BOTH, "clear"): LINE,
    (BOTH, "acknowledge"): LINE,
}

EVENTS = {
    "raise": InterruptBank.raise_line,
    "lower": InterruptBank.lower_line,
    "set": InterruptBank.set_pending,
    "clear": InterruptBank.clear_pending,
    "acknowledge": InterruptBank.acknowledge,
    "deactivate": InterruptBank.deactivate,
}

INTIDS = range(32, 96)
steps = st.lists(
    st.tuples(st.sampled_from([32, 33, 63, 64, 95]), st.sampled_from(sorted(EVENTS))), max_size=60
)


def bank(*, edge=0):
    result = InterruptBank(sum(1 << intid for intid in INTIDS))
    result.edge = edge
    return result


@given(steps)
def test_edge_triggered(history):
    interrupts = bank(edge=-1)
    states = dict.fromkeys(INTIDS, IDLE)
    lines = dict.fromkeys(INTIDS, False)
    for intid, event in history:
        if event == "raise" and lines[intid]:
            continue  # no edge
        if event in {"raise", "lower"}:
            lines[intid] = event == "raise"
        states[intid] = EDGE.get((states[intid], event), states[intid])
        if event == "acknowledge" and states[intid] is IDLE:
            states[intid] = A  # the firmware may activate what is not pending
        EVENTS[event](interrupts, 1 << intid)
        assert {intid: interrupts.state(intid) for intid in INTIDS} == states


@given(steps)
def test_a_second_raise_is_no_edge(history):
    interrupts = bank(edge=-1)
    for intid, event in history:
        EVENTS[event](interrupts, 1 << intid)
        if interrupts.line >> intid & 1:
            before = interrupts.state(intid)
            interrupts.raise_line(1 << intid)
            assert interrupts.state(intid) is before


@given(steps)
def test_level_sensitive(history):
    interrupts = bank()
    causes = dict.fromkeys(INTIDS, NONE)
    active = dict.fromkeys(INTIDS, False)
    for intid, event in history:
        causes[intid] = LEVEL_PENDING.get((causes[intid], event), causes[intid])
        if event in {"acknowledge", "deactivate"}:
            active[intid] = event == "acknowledge"
        EVENTS[event](interrupts, 1 << intid)
        expected = {each: State((causes[each] != NONE, active[each])) for each in INTIDS}
        assert {each: interrupts.state(each) for each in INTIDS} == expected


@given(steps, st.integers(0, 2**96 - 1))
def test_ready_is_enabled_pending_and_not_active(history, enabled):
    interrupts = bank(edge=1 << 33 | 1 << 64)
    interrupts.enabled = enabled & interrupts.implemented
    for intid, event in history:
        EVENTS[event](interrupts, 1 << intid)
    expected = {
        intid
        for intid in INTIDS
        if enabled >> intid & 1 and interrupts.state(intid) is State.PENDING
    }
    assert {intid for intid in range(128) if interrupts.ready >> intid & 1} == expected


@given(st.lists(st.integers(0, 31), min_size=1), st.binary(min_size=32, max_size=32))
def test_the_most_urgent_has_the_lowest_priority_then_the_lowest_intid(intids, priorities):
    interrupts = InterruptBank(0xFFFF_FFFF)
    interrupts.priority[:] = priorities
    bits = 0
    for intid in intids:
        bits |= 1 << intid
    assert interrupts.first(bits) == min((priorities[intid], intid) for intid in intids)
    assert interrupts.first(0) is None


@pytest.mark.parametrize("group", [GROUP0, GROUP1S, GROUP1NS])
def test_groups(group):
    interrupts = InterruptBank(0xFFFF_FFFF)
    interrupts.set_group(5, GROUP1S)
    interrupts.set_group(5, GROUP1NS)
    interrupts.set_group(5, group)
    assert interrupts.group(5) == group
    expected = [0, 0, 0]
    expected[group] = 1 << 5
    assert interrupts.groups(1 << 5) == tuple(expected)


def test_non_secure_beats_the_modifier():
    interrupts = InterruptBank(0xFFFF_FFFF)
    interrupts.non_secure = interrupts.modifier = 1
    assert interrupts.group(0) == GROUP1NS
    assert interrupts.groups(1) == (0, 0, 1)


def test_sgis_are_edge_triggered_for_ever():
    assert InterruptBank(0xFFFF_FFFF).edge == 0xFFFF
