"""Every command of ``ffabric`` with its arguments and options, and what ``bench`` measures."""

from __future__ import annotations

from cyclopts import App
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from ffabric.cli import full
from ffabric.cli.main import COMMANDS
from ffabric.lab.bench.catalogue import BENCHMARKS
from ffabric_docs import markup


class Commands(SphinxDirective):
    """``{ffa-commands}``."""

    def run(self) -> list[nodes.Node]:
        """A section for each command."""
        app = App(name="ffabric", help_flags=(), version_flags=())
        found: list[nodes.Node] = []
        for name, (where, _) in COMMANDS.items():
            full.add(app, name, full.load(where))
            text = app[name].generate_docs(heading_level=2, usage_name=f"ffabric {name}")
            text = text.replace("**Parameters**", "**Options**")
            found += self.parse_text_to_nodes(text, allow_section_headings=True)
        return found


class Benchmarks(SphinxDirective):
    """``{ffa-benchmarks}``."""

    def run(self) -> list[nodes.Node]:
        """A table of all benchmarks."""
        rows = [(f"`{each.name}`", each.what) for each in BENCHMARKS]
        return [markup.table(("name", "what"), rows)]
