"""The states of an execution context: a picture and a table, both from the table of its verbs."""

from __future__ import annotations

from collections.abc import Iterator
from math import hypot
from typing import ClassVar, NamedTuple

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from ffabric.firmware.state.context import TABLE, State
from ffabric.firmware.state.transitions import Becomes, Part, Verb
from ffabric_docs import markup
from ffabric_docs.picture import figure

WIDTH, HEIGHT = 960, 560
BOX = (116, 40)
PLACES = {
    State.OFF: (70, 50),
    State.STARTING: (70, 460),
    State.WAITING: (270, 250),
    State.RUNNING: (560, 250),
    State.BLOCKED: (890, 250),
    State.PREEMPTED: (560, 460),
    State.ABORTED: (890, 50),
}
"""Where the middle of each state's box is."""
BENDS = {(State.STARTING, State.BLOCKED): -165}
"""How far an arrow is bent that would otherwise go through a box."""
BEND = 22
NAME = 110
"""About how long a verb's name is drawn."""
LINE = 15


class Move(NamedTuple):
    """An arrow, and the verbs that stand at it."""

    before: State
    after: State


def moves() -> dict[Move, list[str]]:
    """All arrows; verbs of the other context in brackets, and none twice."""
    found: dict[Move, list[str]] = {}
    for verb in TABLE.verbs.values():
        for part, name in ((verb.own, verb.name), (verb.other, f"({verb.name})")):
            for before, after in part.moves.items() if part else ():
                if before is not after and after is not State.ABORTED:
                    names = found.setdefault(Move(before, after), [])
                    if name not in names:
                        names.append(name)
    return found


def drawing() -> str:
    """The picture as SVG, in the colours of the theme."""
    arrows = "".join(_arrow(move, names) for move, names in moves().items())
    boxes = "".join(_box(state) for state in State)
    return f"{_HEAD}{arrows}{boxes}</svg>"


_HEAD = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"><defs>'
    '<marker id="ffc-m" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
    ' orient="auto"><path class="ffc-p" d="M0 0L8 4L0 8z"/></marker></defs>'
)


def _box(state: State) -> str:
    x, y = PLACES[state]
    width, height = BOX
    kind = "ffc-b ffc-r" if state is State.RUNNING else "ffc-b"
    text = f'<text class="ffc-t ffc-h" x="{x}" y="{y + 4}">{state.value}</text>'
    if state is State.ABORTED:
        text += f'<text class="ffc-t ffc-q" x="{x}" y="{y + 36}">from any: abort</text>'
    return (
        f'<rect class="{kind}" x="{x - width / 2}" y="{y - height / 2}"'
        f' width="{width}" height="{height}" rx="6"/>{text}'
    )


def _arrow(move: Move, names: list[str]) -> str:
    (x0, y0), (x1, y1) = PLACES[move.before], PLACES[move.after]
    length = hypot(x1 - x0, y1 - y0)
    across = ((y1 - y0) / length, (x0 - x1) / length)
    both = Move(move.after, move.before) in moves()
    bend = BENDS.get(move, BEND if both else 0)
    middle = ((x0 + x1) / 2 + 2 * bend * across[0], (y0 + y1) / 2 + 2 * bend * across[1])
    start, end = _edge((x0, y0), middle), _edge((x1, y1), middle)
    at = ((x0 + x1) / 2 + bend * across[0], (y0 + y1) / 2 + bend * across[1])
    path = (
        f"M{start[0]:.0f} {start[1]:.0f}Q{middle[0]:.0f} {middle[1]:.0f} {end[0]:.0f} {end[1]:.0f}"
    )
    return f'<path class="ffc-a" d="{path}"/>{_label(at, across, bend, _lines(names, length))}'


def _edge(middle: tuple[float, float], towards: tuple[float, float]) -> tuple[float, float]:
    """Where a line from the middle of a box leaves it."""
    dx, dy = towards[0] - middle[0], towards[1] - middle[1]
    scale = min(BOX[0] / 2 / abs(dx) if dx else 9e9, BOX[1] / 2 / abs(dy) if dy else 9e9)
    return middle[0] + dx * scale, middle[1] + dy * scale


def _lines(names: list[str], length: float) -> list[str]:
    """The names at an arrow of this length, in lines that are not longer."""
    count = max(2, int(length / NAME))
    return [", ".join(names[n : n + count]) for n in range(0, len(names), count)]


def _label(
    at: tuple[float, float], across: tuple[float, float], bend: float, lines: list[str]
) -> str:
    away = 1 if bend >= 0 else -1
    flat = abs(across[1]) > abs(across[0])
    wide = max(map(len, lines)) * 3.7
    x = at[0] + (0 if flat else away * across[0] * (wide + 8))
    y = at[1] + away * across[1] * 12
    y += -(len(lines) - 1) * LINE if flat and across[1] * away < 0 else 0
    y += LINE * 0.6 if flat and across[1] * away > 0 else 0
    return "".join(
        f'<text class="ffc-t ffc-q" x="{x:.0f}" y="{y + n * LINE:.0f}">{line}</text>'
        for n, line in enumerate(lines)
    )


class ContextStates(SphinxDirective):
    """``{ffa-context-states}`` with a caption as its content; ``:alt:`` says what it shows."""

    has_content = True
    option_spec: ClassVar = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """The picture."""
        return [figure(self, drawing(), self.options["alt"])]


class ContextVerbs(SphinxDirective):
    """``{ffa-context-verbs}``."""

    def run(self) -> list[nodes.Node]:
        """An entry for each verb."""
        return [markup.entries(_entry(verb) for verb in TABLE.verbs.values())]


def _entry(verb: Verb[State]) -> nodes.definition_list_item:
    labels = [markup.label(level, "ffa-kind") for level in verb.levels]
    rows = [("the context", *_cells(verb.own))]
    if verb.other is not None and (verb.other.moves or verb.other.sets):
        rows.append(("the other one", *_cells(verb.other)))
    table = markup.table(("", "from, to", "fields"), rows)
    return markup.entry(verb.name, labels, markup.paragraph(verb.text), table)


def _cells(part: Part[State]) -> tuple[str, str]:
    return ", ".join(_moves(part)), ", ".join(_sets(part))


def _moves(part: Part[State]) -> Iterator[str]:
    afters = dict.fromkeys(part.moves.values())
    for after in afters:
        befores = [before for before, to in part.moves.items() if to is after]
        if len(befores) == len(State) - 1:
            yield f"any to {after.value}"
        elif befores == [after]:
            yield f"{after.value} still"
        else:
            yield f"{' or '.join(each.value for each in befores)} to {after.value}"


def _sets(part: Part[State]) -> Iterator[str]:
    for field, value in part.sets.items():
        shown = value.value if isinstance(value, Becomes) else getattr(value, "value", value)
        yield f"`{field}`: {'none' if shown is None else shown}"
