"""Every rule of the firmware is named by a test that breaks it."""

import re
from pathlib import Path

import ffabric.system.booting.boot  # noqa: F401 - all rooms of the firmware
from ffabric.firmware.state.rules import RULES

KINDS = re.compile(r"mem\.(share|lend|donate)\.")


def test_every_rule_is_named_by_a_test():
    here = Path(__file__).parent
    files = [each for each in here.rglob("test_*.py") if each != Path(__file__)]
    sources = "\n".join(each.read_text() for each in files)
    missing = [
        rule.id
        for rule in RULES
        if rule.id not in sources and KINDS.sub("mem.{kind}.", rule.id) not in sources
    ]
    assert not missing


def test_rules_are_sentences_with_a_source():
    for rule in RULES:
        assert re.match(r"[A-Z]|[wx]\d", rule.text), rule.id
        assert rule.text.endswith("."), rule.id
        assert re.match(r"DEN\d{4}A? |OP-TEE 4\.10, |Hafnium 2\.\d+, ", rule.section), rule.id
        assert re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", rule.id), rule.id
