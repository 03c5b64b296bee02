"""Every rule of the firmware, by room."""

from __future__ import annotations

from itertools import groupby
from typing import cast

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from ffabric.firmware.catalogue import RULES
from ffabric.firmware.state.rules import Rule
from ffabric_docs import markup
from ffabric_docs.domain import FfaDomain


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
        rooms = [(name, list(group)) for name, group in groupby(rules, room_of)]
        count = f"{len(rules)} rules in {len(rooms)} rooms."
        return [markup.paragraph(count), *(self._room(*room) for room in rooms)]

    def _room(self, name: str, rules: list[Rule]) -> nodes.section:
        return markup.section(name, markup.entries(map(self._rule, rules)), code=True)

    def _rule(self, rule: Rule) -> nodes.definition_list_item:
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
        return markup.entry(
            rule.id,
            labels,
            markup.paragraph(rule.text),
            markup.paragraph(" · ".join(source), classes=["ffa-source"]),
            anchor=rule.id,
        )
