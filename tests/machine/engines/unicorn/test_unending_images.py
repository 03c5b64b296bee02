"""The Unicorn engine: software that faults without end, or computes without end (`unending.S`)."""

import pytest
from unicorn_board import IPA, Board

from ffabric.machine import exits
from ffabric.machine.translation import descriptors as s2

EC, IL = 26, 1 << 25
NOWHERE = 0x1_0000_0000


@pytest.fixture
def board():
    board = Board("unending", wedged_after=200_000, slice_=10_000)
    yield board
    board.close()


def until_it_ends(vcpu, most=400_000):
    """Run as an EL2 would that injects every stage-2 fault; what it says in the end."""
    steps = []

    def answer(ctx, exit_):
        steps.append(exits.NAMES[exit_])
        assert len(steps) < most, "it never ends"
        if exit_ == exits.ABORT:
            vcpu.runner.inject_abort(ctx.fault.syndrome, ctx.fault.va)
        return exit_ not in (exits.CRASH, exits.HVC, exits.IDLE)

    while not steps or steps[-1] not in {"CRASH", "HVC", "IDLE"}:
        vcpu.runner.run(vcpu.ctx, answer)
    return steps[-1], vcpu.ctx.crash


def test_a_branch_to_nowhere_is_one_abort(board):
    vcpu = board.vcpu(1)
    assert until_it_ends(vcpu)[0] == "HVC"
    assert vcpu.ctx.x[:3] == [0x21 << EC | IL | 0x05, NOWHERE, NOWHERE]


def test_a_fetch_that_stage_2_forbids_is_one_abort(board):

    board.stage2.map(NOWHERE, 0x9010_0000, 1, s2.VALID | s2.AF | s2.S2AP_R | s2.XN)
    vcpu = board.vcpu(1)
    assert until_it_ends(vcpu)[0] == "HVC"
    assert vcpu.ctx.x[:3] == [0x21 << EC | IL | 0x0F, NOWHERE, NOWHERE]


@pytest.mark.parametrize(
    ("case", "pc", "told"),
    [
        (0, 0x200, f"the first at PC {IPA + 4:#x}, ESR 0x92000004 (data abort, translation fault)"),
        (2, IPA + 0x2A00, "ESR 0x2000000 (undefined instruction)"),
        (3, IPA + 0x3204, "FAR 0x"),
        (4, IPA + 0x408 + 4, "FAR 0x12300000000, IPA 0x12300000000"),
    ],
    ids=["no vectors", "vectors of zeros", "a handler that faults", "a handler that does nothing"],
)
def test_exceptions_without_end_are_a_crash(board, case, pc, told):
    name, crash = until_it_ends(board.vcpu(case))
    assert name == "CRASH"
    assert crash.startswith("exceptions without end")
    assert f"PC {pc:#x}" in crash
    assert told in crash
    assert all(
        word in crash for word in (" vCPU ", " ELR 0x", " ESR 0x", " FAR ", " IPA ", "PSTATE")
    )


def test_many_exceptions_that_are_handled_are_none(board):
    vcpu = board.vcpu(7)
    for _ in range(110):
        assert until_it_ends(vcpu)[0] == "HVC"


def test_svc_at_el1_is_how_some_systems_yield(board):
    vcpu = board.vcpu(8)
    name, crash = until_it_ends(vcpu)
    assert crash.startswith("wedged"), name


@pytest.mark.parametrize(("case", "places"), [(5, {0x500}), (6, {0x610, 0x614, 0x618})])
def test_what_computes_without_a_call_is_wedged(board, case, places):
    vcpu = board.vcpu(case)
    name, crash = until_it_ends(vcpu)
    assert name == "CRASH"
    assert vcpu.runner.wedged
    assert crash.startswith("wedged: 200000 instructions without a call; seen at ")
    assert {f"{IPA + place:#x} (" in crash for place in places} == {True}
    assert 200_000 <= vcpu.runner.instructions < 300_000


def test_a_call_before_the_limit_begins_anew(board):
    vcpu = board.vcpu(7)
    while vcpu.runner.instructions < 300_000:
        assert until_it_ends(vcpu)[0] == "HVC"
    assert not vcpu.runner.wedged


def test_waiting_is_not_computing(board):
    vcpu = board.vcpu(9)
    for _ in range(1_000):
        assert until_it_ends(vcpu)[0] == "IDLE"


def test_nothing_is_wedged_without_a_limit():
    board = Board("unending", wedged_after=0)
    vcpu = board.vcpu(5)
    assert [vcpu.step()[0] for _ in range(5)] == ["SLICE"] * 5
    board.close()
