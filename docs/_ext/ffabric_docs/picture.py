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
        drawing = path.read_text(encoding="utf-8")
        label = nodes.Text(self.options["alt"]).astext().replace('"', "&quot;")
        head = f'<div class="ffa-picture" role="img" aria-label="{label}">'
        figure = nodes.container(classes=["ffa-figure"])
        figure += nodes.raw("", f"{head}{drawing}</div>", format="html")
        caption = nodes.container(classes=["ffa-caption"])
        self.state.nested_parse(self.content, self.content_offset, caption)
        figure += caption
        return [figure]
