"""Docutils nodes that the reference pages are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from docutils import nodes

from ffabric.abi.ffa.version import LATEST, V1_0, format_version


def section(title: str, *children: nodes.Node, code: bool = False) -> nodes.section:
    """A section with an anchor made from its title."""
    heading = nodes.title("", "", nodes.literal("", title) if code else nodes.Text(title))
    anchor = re.sub(r"[^a-z0-9_.]+", "-", title.lower()).strip("-")
    return nodes.section(
        "", heading, *children, ids=[anchor], names=[nodes.fully_normalize_name(title)]
    )


def paragraph(*parts: str | nodes.Node, classes: Sequence[str] = ()) -> nodes.paragraph:
    """Text and inline nodes in one paragraph; `code` between backquotes in the text."""
    return nodes.paragraph("", "", *inline(*parts), classes=list(classes))


def inline(*parts: str | nodes.Node) -> list[nodes.Node]:
    """The parts as inline nodes, what stands between backquotes as code."""
    found: list[nodes.Node] = []
    for part in parts:
        if isinstance(part, nodes.Node):
            found.append(part)
            continue
        for index, text in enumerate(part.split("`")):
            if text:
                found.append(nodes.literal("", text) if index % 2 else nodes.Text(text))
    return found


def label(text: str, *classes: str) -> nodes.inline:
    """A short text that the style sheet shapes."""
    return nodes.inline("", text, classes=list(classes))


def entries(items: Iterable[nodes.definition_list_item]) -> nodes.definition_list:
    """A list of entries."""
    return nodes.definition_list("", *items, classes=["ffa-entries"])


def entry(
    name: str, labels: Sequence[nodes.Node], *body: nodes.Node, anchor: str = ""
) -> nodes.definition_list_item:
    """A name, labels beside it, and what it means below."""
    term = nodes.term("", "", nodes.literal("", name))
    for each in labels:
        term += [nodes.Text(" "), each]
    if anchor:
        term["ids"].append(anchor)
    return nodes.definition_list_item("", term, nodes.definition("", *body))


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str | Sequence[nodes.Node]]],
    *classes: str,
) -> nodes.table:
    """A table that scrolls sideways where it does not fit."""

    def row(cells: Sequence[str | Sequence[nodes.Node]]) -> nodes.row:
        return nodes.row(
            "",
            *(
                nodes.entry(
                    "",
                    nodes.paragraph("", "", *(inline(cell) if isinstance(cell, str) else cell)),
                )
                for cell in cells
            ),
        )

    group = nodes.tgroup("", cols=len(head))
    group += [nodes.colspec("", colwidth=1) for _ in head]
    if any(head):
        group += nodes.thead("", row(head))
    group += nodes.tbody("", *(row(cells) for cells in rows))
    return nodes.table("", group, classes=["ffa-table", *classes], align="left")


def versions(since: int, until: int) -> str:
    """In which versions of FF-A something is defined; nothing if in all."""
    if until < LATEST:
        last = format_version(until)
        return f"v{last} only" if since == until else f"v{format_version(since)} to v{last}"
    return f"since v{format_version(since)}" if since > V1_0 else ""
