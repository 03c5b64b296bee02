"""How costs grow, drawn as SVG: a panel for each quantity, logarithmic in both directions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape

import msgspec

from ffabric.lab.bench.benchmark import Growth

WIDTH, HEIGHT = 520, 360
LEFT, RIGHT, TOP, BOTTOM = 76, 20, 64, 56
"""A panel, and what stays free around its axes."""
COLUMNS = 2
COLOURS = ("#0b5fa5", "#c2410c", "#3f7d20", "#7e3794")
MARKS = ("circle", "square", "diamond", "circle")
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #222 }
.title { font-size: 15px; font-weight: 600 }
.small { font-size: 12px; fill: #555 }
.grid { stroke: #e3e3e3 }
.axis { stroke: #555; fill: none }
.line { fill: none; stroke-width: 2 }
.spread { stroke-width: 1.5 }
"""


class Scale(msgspec.Struct, frozen=True):
    """A logarithmic scale from values to places: `first` is at `start`, `last` at `end`."""

    first: float
    last: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where `value` is."""
        share = math.log(value / self.first) / math.log(self.last / self.first)
        return self.start + share * (self.end - self.start)


def svg(growths: Iterable[Growth]) -> str:
    """The picture of all that has values."""
    panels: dict[tuple[str, str, str], list[Growth]] = {}
    for growth in growths:
        if growth.values:
            sweep = growth.sweep
            panels.setdefault((sweep.what, sweep.axis, sweep.unit.name), []).append(growth)
    across = min(COLUMNS, len(panels)) or 1
    down = math.ceil(len(panels) / across)
    size = f'width="{across * WIDTH}" height="{down * HEIGHT}"'
    view = f'viewBox="0 0 {across * WIDTH} {down * HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {view} role="img">',
        f"<style>{STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for number, (labels, group) in enumerate(panels.items()):
        x, y = number % across * WIDTH, number // across * HEIGHT
        parts.append(f'<g transform="translate({x} {y})">')
        parts += _panel(*labels, group)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(what: str, axis: str, unit: str, group: Sequence[Growth]) -> Iterator[str]:
    points = sorted({point for growth in group for point in growth.sweep.points})
    lows = [values.low for growth in group for values in growth.values]
    highs = [values.high for growth in group for values in growth.values]
    first, last = _ends(min(lows), max(highs))
    across = Scale(points[0], max(points[-1], points[0] * 2), LEFT, WIDTH - RIGHT)
    up = Scale(first, last, HEIGHT - BOTTOM, TOP)
    yield _text(LEFT, 24, f"{what}, {unit}", "title")
    for value in _ticks(first, last):
        y = up.at(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(LEFT - 8, y + 4, _label(value), anchor="end")
    for point in points:
        x = across.at(point)
        yield f'<path class="axis" d="M{x:.1f} {HEIGHT - BOTTOM}v5"/>'
        yield _text(x, HEIGHT - BOTTOM + 20, str(point), anchor="middle")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, axis, anchor="middle")
    yield f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>'
    x = float(LEFT)
    for growth, colour, mark in zip(group, COLOURS, MARKS, strict=False):
        yield from _series(growth, across, up, colour, mark)
        if len(group) > 1:
            yield _mark(mark, x + 5, 44, colour)
            yield _text(x + 15, 48, growth.sweep.name, "small")
            x += 34 + 6.5 * len(growth.sweep.name)
        else:
            yield _text(x, 48, growth.sweep.name, "small")


def _series(growth: Growth, across: Scale, up: Scale, colour: str, mark: str) -> Iterator[str]:
    places = []
    for point, values in zip(growth.sweep.points, growth.values, strict=False):
        x = across.at(point)
        places.append((x, up.at(values.median)))
        low, high = up.at(values.low), up.at(values.high)
        yield f'<path class="spread" stroke="{colour}" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield f'<polyline class="line" stroke="{colour}" points="{line}"/>'
    for x, y in places:
        yield _mark(mark, x, y, colour)


def _mark(kind: str, x: float, y: float, colour: str) -> str:
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if kind == "diamond" else ""
    corner = f'x="{x - 3.5:.1f}" y="{y - 3.5:.1f}"'
    return f'<rect {corner} width="7" height="7" fill="{colour}"{turn}/>'


def _ends(low: float, high: float) -> tuple[float, float]:
    """The ticks around the values; at least a factor of ten apart, so that noise is no mountain."""
    if high / low < 10:
        middle = math.sqrt(low * high)
        low, high = min(low, middle / 3), max(high, middle * 3)
    ticks = _ticks(low / 10, high * 10)
    return max(t for t in ticks if t <= low), min(t for t in ticks if t >= high)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade; the decades alone where there are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= 5 else (1,)
    found = [step * 10.0**decade for decade in decades for step in steps]
    return [tick for tick in found if low * 0.999 <= tick <= high * 1.001]


def _label(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    shown = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{shown}>{escape(text)}</text>'
