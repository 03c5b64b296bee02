"""Pictures inline, so that their colours are the theme's, light or dark."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective


class Picture(SphinxDirective):
    """``{picture} NAME`` with a caption as its content; ``:alt:`` says what it shows."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """A figure that scrolls sideways where it does not fit."""
        path = Path(self.env.srcdir) / "pictures" / f"{self.arguments[0]}.svg"
        self.env.note_dependency(str(path))
        return [figure(self, path.read_text(encoding="utf-8"), self.options["alt"])]


def figure(directive: SphinxDirective, drawing: str, alt: str) -> nodes.container:
    """An SVG `drawing` with the content of `directive` as its caption."""
    label = alt.replace('"', "&quot;")
    head = f'<div class="ffa-picture" role="img" aria-label="{label}">'
    found = nodes.container(classes=["ffa-figure"])
    found += nodes.raw("", f"{head}{drawing}</div>", format="html")
    caption = nodes.container(classes=["ffa-caption"])
    directive.state.nested_parse(directive.content, directive.content_offset, caption)
    found += caption
    return found
