"""Every rule of the firmware, by room, and the tests that try it (`make rules`)."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import cast

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from ffabric.firmware.catalogue import RULES
from ffabric.firmware.state.interface.switches import SWITCHES
from ffabric.firmware.state.rules import Rule
from ffabric_docs import markup
from ffabric_docs.domain import FfaDomain

TRIED = Path(__file__).parents[2] / "reference" / "rules.json"
Tests = dict[str, dict[str, list[str]]]
"""Rule, what a test has found of it, and the names of the tests."""


def all_rules() -> list[Rule]:
    """The rules that all rooms declare, by id."""
    return sorted(RULES, key=lambda rule: (room_of(rule), rule.id))


def room_of(rule: Rule) -> str:
    """What the rules of one call or object have in common: the id without its last part."""
    return rule.id.rpartition(".")[0]


class Rules(SphinxDirective):
    """``{ffa-rules}``."""

    def run(self) -> list[nodes.Node]:
        """The sections, one for each room."""
        rules = all_rules()
        self.env.note_dependency(str(TRIED))
        tried: Tests = json.loads(TRIED.read_text("utf-8"))
        rooms = [(name, list(group)) for name, group in groupby(rules, room_of)]
        count = f"{len(rules)} rules in {len(rooms)} rooms."
        return [markup.paragraph(count), *(self._room(*room, tried) for room in rooms)]

    def _room(self, name: str, rules: list[Rule], tried: Tests) -> nodes.section:
        entries = markup.entries(self._rule(rule, tried.get(rule.id, {})) for rule in rules)
        return markup.section(name, entries, code=True)

    def _rule(self, rule: Rule, tests: dict[str, list[str]]) -> nodes.definition_list_item:
        domain = cast("FfaDomain", self.env.get_domain("ffa"))
        domain.note("rule", rule.id, rule.id)
        source = [rule.section]
        if held := markup.versions(rule.since, rule.until):
            source.append(held)
        labels = [markup.label(rule.status.name, "ffa-status")]
        labels += [
            markup.label(name, "ffa-kind")
            for name, given in (("waivable", rule.waivable), ("optional", rule.optional))
            if given
        ]
        facts = [" · ".join(source), *habits(rule.id)]
        facts += [
            f"{how.capitalize()} in " + ", ".join(f"`{name}`" for name in names)
            for how, names in tests.items()
            if names
        ]
        return markup.entry(
            rule.id,
            labels,
            markup.paragraph(rule.text),
            *(markup.paragraph(fact, classes=["ffa-source"]) for fact in facts),
            anchor=rule.id,
        )


def habits(rule: str) -> list[str]:
    """What personalities do with a rule, each in a sentence."""
    found = []
    for switch in SWITCHES:
        who = ", ".join(f"`{name}`" for name in switch.of)
        if rule in switch.waives:
            found.append(f"Waived by {who}: `{switch.name}`")
        if rule in switch.enforces:
            found.append(f"Enforced by {who}: `{switch.name}`")
        if rule in switch.statuses:
            found.append(f"{switch.statuses[rule].name} with {who}: `{switch.name}`")
    return found
