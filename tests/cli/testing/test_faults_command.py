"""``ffabric faults``."""

import pytest

from ffabric.cli.errors import UsageError
from ffabric.cli.testing.faults import faults


def test_bugs_are_listed_by_class(capsys):
    assert faults() == 0
    lines = capsys.readouterr().out.splitlines()
    assert "I: life cycle and permissions of memory" in lines
    assert "  optee_os_5803        A page that is shared is shared a second time." in lines


def test_a_class_is_listed_alone(capsys):
    assert faults("h") == 0
    assert capsys.readouterr().out.splitlines()[0] == "H: ownership of RX and TX"


def test_one_bug_is_described_with_its_source_and_what_it_changes(capsys):
    assert faults("haf_67686054") == 0
    out = capsys.readouterr().out
    assert "FFA_RX_ACQUIRE for a VM that does not exist dereferences NULL at EL2." in out
    assert "Found in: Hafnium, commit 67686054" in out
    assert "physical._vm_mailbox: 'if box is None:' -> 'if False:'" in out


def test_its_scenario_is_played(capsys):
    assert faults("haf_67686054", check=True) == 0
    assert "1 of 1 are killed by their scenarios" in capsys.readouterr().out


def test_an_unknown_name_is_one_line():
    with pytest.raises(UsageError, match=r"faults: there is no fault 'x1'"):
        faults("x1")


def test_random_calls_look_for_a_bug(capsys):
    assert faults("seed004_execute", "haf_4afbfd71", fuzz=40, least=1, processes=1) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("I seed004_execute      call ")
    assert "may execute what it must not" in first
    assert second == "N haf_4afbfd71         -"
    assert last == "found 1 of 2 within 40 calls each: I 1 of 1, N 0 of 1"


def test_fewer_found_than_there_have_to_be_is_a_failure(capsys):
    assert faults("haf_4afbfd71", fuzz=20, least=1, processes=1) == 1
    assert "found 0 of 1 within 20 calls each" in capsys.readouterr().out


@pytest.mark.parametrize("options", [{"least": 3}, {"processes": 1}])
def test_what_random_calls_need_is_said(options):
    with pytest.raises(UsageError, match="--least and --processes need --fuzz CALLS"):
        faults("a", **options)


@pytest.mark.parametrize("options", [{"fuzz": 0.0}, {"fuzz": 5.0, "check": True}])
def test_what_cannot_be_looked_for_is_said(options):
    with pytest.raises(UsageError, match="--fuzz takes at least one call, and no --check"):
        faults("a", **options)
