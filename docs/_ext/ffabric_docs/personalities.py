"""How implementations in the field differ from the specification: a table for each personality."""

from __future__ import annotations

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from ffabric.abi.ffa.features import feature_name
from ffabric.abi.ffa.functions import FUNCTIONS
from ffabric.firmware.state.interface.conventions import Switch
from ffabric.firmware.state.interface.switches import PERSONALITIES, SPEC, SWITCHES
from ffabric_docs import markup


class Personalities(SphinxDirective):
    """``{ffa-personalities}``."""

    def run(self) -> list[nodes.Node]:
        """A section for each personality."""
        return [_section(name, text) for name, text in PERSONALITIES.items() if name != SPEC]


def _section(name: str, text: str) -> nodes.section:
    rows = [each for each in SWITCHES if name in each.of]
    entries = markup.entries(map(_entry, rows))
    return markup.section(name, markup.paragraph(text), entries, code=True)


def _entry(switch: Switch) -> nodes.definition_list_item:
    effects = []
    if switch.waives:
        effects.append("Waives " + _names(switch.waives) + ".")
    if switch.enforces:
        effects.append("Enforces " + _names(switch.enforces) + ".")
    for rule_id, status in switch.statuses.items():
        effects.append(f"`{rule_id}` answers {status.name}.")
    for function, bits in switch.features.items():
        effects.append(f"`{feature_name(function)}` has {bits:#x} among its features.")
    if switch.withholds:
        effects.append("Not served: " + _names(_calls(switch.withholds)) + ".")
    if switch.older:
        effects.append("Served in all versions: " + _names(_calls(switch.older)) + ".")
    if switch.answers:
        effects.append("Answers a request, too: " + _names(_calls(switch.answers)) + ".")
    facts = " · ".join((f"at: {', '.join(switch.at)}", switch.source, f"`{switch.test}`"))
    return markup.entry(
        switch.name,
        [],
        markup.paragraph(switch.differs),
        markup.paragraph(" ".join(effects)),
        markup.paragraph(facts, classes=["ffa-source"]),
    )


def _calls(functions: frozenset[int]) -> list[str]:
    return sorted(FUNCTIONS[function].name for function in functions)


def _names(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
