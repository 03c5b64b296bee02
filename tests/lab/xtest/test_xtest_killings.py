"""What is killed in the middle of a case of xtest: when that counts as what was to be."""

from types import SimpleNamespace
from typing import Any

import pytest

from ffabric.lab.xtest.killings import OfTheSupplicant, OfTheVm

RULE = "vm.memory"


def guest(name, *, cases=(True, False), fate="killed", killed=True):
    passed = [SimpleNamespace(passed=each, number="1005") for each in cases]
    made: Any = SimpleNamespace(
        name=name,
        fate=fate,
        killed=killed,
        waiting=[],
        started=0,
        go_on=lambda: None,
        report=SimpleNamespace(cases=passed),
    )
    made.start_supplicant = lambda: setattr(made, "started", made.started + 1)
    return made


def killing(kind, mortal, *, refused=1):
    system: Any = SimpleNamespace(refusals={RULE: refused})
    other = guest("other", fate="")
    forger: Any = SimpleNamespace
    return kind(system, {"mortal": mortal, "other": other}, mortal, forger=forger, say=[].append)


def forged(answers=("no",)):
    made: Any = SimpleNamespace(name="forger", answers=[*answers], expected=("no",), rule=RULE)
    return made


@pytest.mark.parametrize(
    ("mortal", "forger", "refused", "problem"),
    [
        ({}, forged(), 1, []),
        ({"fate": ""}, forged(), 1, ["mortal was not killed"]),
        ({"cases": (False, False)}, forged(), 1, ["mortal had failed before it was killed"]),
        ({}, None, 1, ["nobody came in its place"]),
        ({}, forged(["yes"]), 1, ["the forger was answered ['yes'], not no"]),
        ({}, forged(), 0, [f"nothing was refused by {RULE}"]),
    ],
)
def test_a_vm_was_killed_and_its_memory_is_nobody_elses(mortal, forger, refused, problem):
    it = killing(OfTheVm, guest("mortal", **mortal), refused=refused)
    it.forger = forger
    assert [*it.problems()] == problem


def test_the_qemu_of_the_mortal_vm_alone_is_to_be_lost():
    it = killing(OfTheVm, guest("mortal"))
    assert not it.lost(it.mortal, "vm")
    it.begin()
    assert it.lost(it.mortal, "vm")
    assert not it.lost(it.mortal, "supplicant")
    assert not it.lost(it.guests["other"], "vm")


def test_only_the_dead_ones_case_is_excused():
    it = killing(OfTheVm, guest("mortal"))
    (case, *_) = it.mortal.report.cases
    assert it.excuses(it.mortal, case)
    assert not it.excuses(it.guests["other"], case)
    it.mortal.killed, it.mortal.fate = False, ""
    assert not it.excuses(it.mortal, case)


def test_a_tee_supplicant_is_started_once_in_the_place_of_the_one_that_was_killed():
    it = killing(OfTheSupplicant, guest("mortal"))
    assert [*it.problems()] == ["mortal's tee-supplicant was not killed"]
    assert not it.lost(it.mortal, "supplicant")
    it.done = True
    assert not it.lost(it.guests["other"], "supplicant")
    assert it.lost(it.mortal, "supplicant")
    assert not it.lost(it.mortal, "supplicant")
    assert (it.mortal.started, [*it.problems()], it.go_on()) == (1, [], False)
