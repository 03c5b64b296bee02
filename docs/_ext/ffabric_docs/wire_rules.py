"""Every rule of virtio-msg, by what its id begins with."""

from __future__ import annotations

from itertools import groupby

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from ffabric.lab.virtio_msg import conform
from ffabric.lab.virtio_msg.judges.rules import RULES, Rule
from ffabric_docs import markup

assert conform  # it declares all of them


class WireRules(SphinxDirective):
    """``{ffa-virtio-msg-rules}``."""

    def run(self) -> list[nodes.Node]:
        """The sections: the form of messages, what binds drivers, what binds devices."""
        rules = sorted(RULES.values(), key=lambda rule: rule.id)
        rooms = groupby(rules, lambda rule: rule.id.partition(".")[0])
        return [
            markup.paragraph(f"{len(rules)} rules."),
            *(self._room(name, list(group)) for name, group in rooms),
        ]

    def _room(self, name: str, rules: list[Rule]) -> nodes.section:
        return markup.section(name, markup.entries(map(self._rule, rules)), code=True)

    def _rule(self, rule: Rule) -> nodes.definition_list_item:
        sides = [markup.label(side.value, "ffa-status") for side in rule.sides]
        generations = {(1, 1): " · pr28 only", (2, 2): " · v2 only"}
        held = generations.get((rule.since, rule.until), "")
        if rule.rfc2:
            held += f" · rfc2: {rule.rfc2}"
        return markup.entry(
            rule.id,
            sides,
            markup.paragraph(rule.text),
            markup.paragraph(rule.section + held, classes=["ffa-source"]),
        )
