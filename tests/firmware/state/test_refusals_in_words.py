"""What a refusal says, and that each rule has an id of its own."""

import pytest

from ffabric.abi.ffa.status import Status
from ffabric.firmware.state.rules import RULES, Refused, Rule, Rules, show

DENIED = Rule("some.rule", Status.DENIED, "section 1", "Nobody does that.")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (17, "0x11"),
        (True, "True"),
        (None, "None"),
        ([1, (2, "OWNED"), []], "[0x1, [0x2, OWNED], []]"),
        ("OWNED", "OWNED"),
    ],
)
def test_a_compared_value_is_told_as_a_person_reads_it(value, told):
    assert show(value) == told


def test_a_refusal_says_what_was_compared():
    assert str(Refused(DENIED, 17, [None, 2])) == "some.rule: got 0x11, expected [None, 0x2]"


def test_an_id_is_declared_once():
    rules = Rules()
    assert rules.add(DENIED) is DENIED
    with pytest.raises(ValueError, match=r"some\.rule is declared twice"):
        rules.add(Rule("some.rule", Status.BUSY, "section 2", "Another text."))
    assert rules["some.rule"] is DENIED
    assert "some.other" not in rules


def test_all_rules_are_shown_by_their_number():
    assert repr(RULES) == f"<{len(RULES)} rules>"
