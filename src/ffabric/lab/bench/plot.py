"""How costs grow, drawn as SVG: a panel for each quantity, logarithmic in both directions.

There, what grows with the size itself is a straight line as steep as the dashed one. The picture
is light or dark as its reader prefers, or as the page is that it is part of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape

import msgspec

from ffabric.lab.bench.benchmark import Growth

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 72, 24, 64, 54
"""A panel, and what stays free around its axes."""
MARGIN = 16
"""Where its title begins, which may be as long as the panel is wide."""
COLUMNS = 2
FOOT = 34
"""Height of the line that says what was measured on."""
MARKS = ("circle", "square", "diamond")
"""One for each series of a panel, as the classes s0, s1 and s2 have colours."""
MANY = 8
"""From so many on, only the powers of ten among the ticks are labelled."""
STYLE = """
.growth { --ink: var(--color-foreground-primary, #1f2328);
  --pale: var(--color-foreground-secondary, #57606a);
  --paper: var(--color-background-primary, #ffffff);
  --rule: var(--color-background-border, #e4e7eb) }
@media (prefers-color-scheme: dark) {
  .growth { --ink: var(--color-foreground-primary, #e6edf3);
    --pale: var(--color-foreground-secondary, #9aa4af);
    --paper: var(--color-background-primary, #131416);
    --rule: var(--color-background-border, #2b3036) } }
.growth text { font: 14px system-ui, sans-serif; fill: var(--ink) }
.growth .title { font-size: 15px; font-weight: 600 }
.growth .small { font-size: 13px; fill: var(--pale) }
.growth .paper { fill: var(--paper) }
.growth .grid { stroke: var(--rule) }
.growth .axis { stroke: var(--pale); fill: none }
.growth .guide { stroke: var(--pale); stroke-dasharray: 5 4; fill: none; opacity: .7 }
.growth .s0 { stroke: #2f81d6; fill: #2f81d6 }
.growth .s1 { stroke: #d9622b; fill: #d9622b }
.growth .s2 { stroke: #3f9a4f; fill: #3f9a4f }
.growth .line { fill: none; stroke-width: 2 }
.growth .spread { stroke-width: 1.5 }
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


def svg(growths: Iterable[Growth], measured_on: str = "") -> str:
    """The picture of all that has values; its last line is `measured_on`."""
    panels: dict[tuple[str, str, str], list[Growth]] = {}
    for growth in growths:
        if growth.values:
            sweep = growth.sweep
            panels.setdefault((sweep.what, sweep.axis, sweep.unit.name), []).append(growth)
    across = min(COLUMNS, len(panels)) or 1
    down = math.ceil(len(panels) / across)
    width, height = across * WIDTH, down * HEIGHT + (FOOT if measured_on else 0)
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    shown = escape(", ".join(f"{what} by {axis}" for what, axis, _ in panels))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} class="growth" role="img">',
        f"<title>How costs grow: {shown}</title>",
        f"<style>{STYLE}</style>",
        '<rect class="paper" width="100%" height="100%"/>',
    ]
    for number, (labels, group) in enumerate(panels.items()):
        x, y = number % across * WIDTH, number // across * HEIGHT
        parts.append(f'<g transform="translate({x} {y})">')
        parts += _panel(*labels, group)
        parts.append("</g>")
    if measured_on:
        said = f"{measured_on}. Dashed: in proportion to the size."
        parts.append(_text(LEFT, height - 14, said, "small"))
    return "\n".join([*parts, "</svg>", ""])


def _panel(what: str, axis: str, unit: str, group: Sequence[Growth]) -> Iterator[str]:
    points = sorted({point for growth in group for point in growth.sweep.points})
    lows = [values.low for growth in group for values in growth.values]
    highs = [values.high for growth in group for values in growth.values]
    first, last = _ends(min(lows), max(highs))
    across = Scale(points[0], max(points[-1], points[0] * 2), LEFT, WIDTH - RIGHT)
    up = Scale(first, last, HEIGHT - BOTTOM, TOP)
    yield _text(MARGIN, 24, f"{what[0].upper()}{what[1:]} ({unit})", "title")
    ticks = _ticks(first, last)
    for value in ticks:
        y = up.at(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        if len(ticks) < MANY or math.log10(value) % 1 < 1e-9:
            yield _text(LEFT - 8, y + 5, _label(value), anchor="end")
    for point in points:
        x = across.at(point)
        yield f'<path class="axis" d="M{x:.1f} {HEIGHT - BOTTOM}v5"/>'
        yield _text(x, HEIGHT - BOTTOM + 20, _label(point), anchor="middle")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, axis, "small", "middle")
    yield _guide(across, up)
    yield f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>'
    x = float(LEFT)
    for number, (growth, mark) in enumerate(zip(group, MARKS, strict=False)):
        yield f'<g class="s{number}">'
        yield from _series(growth, across, up, mark)
        yield _mark(mark, x + 5, 44)
        yield "</g>"
        yield _text(x + 15, 49, growth.sweep.name, "small")
        x += 32 + 8 * len(growth.sweep.name)


def _guide(across: Scale, up: Scale) -> str:
    """What is proportional to the size: from the lower left corner on."""
    times = min(across.last / across.first, up.last / up.first)
    x, y = across.at(across.first * times), up.at(up.first * times)
    return f'<path class="guide" d="M{across.start} {up.start}L{x:.1f} {y:.1f}"/>'


def _series(growth: Growth, across: Scale, up: Scale, mark: str) -> Iterator[str]:
    places = []
    for point, values in zip(growth.sweep.points, growth.values, strict=False):
        x = across.at(point)
        places.append((x, up.at(values.median)))
        low, high = up.at(values.low), up.at(values.high)
        yield f'<path class="spread" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield f'<polyline class="line" points="{line}"/>'
    for x, y in places:
        yield _mark(mark, x, y)


def _mark(kind: str, x: float, y: float) -> str:
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if kind == "diamond" else ""
    return f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"{turn}/>'


def _ends(low: float, high: float) -> tuple[float, float]:
    """The ticks around the values; at least a factor of ten apart, so that noise is no mountain."""
    if high / low < 10:
        middle = math.sqrt(low * high)
        low, high = min(low, middle / 3), max(high, middle * 3)
    ticks = _ticks(low / 10, high * 10)
    return max(t for t in ticks if t <= low), min(t for t in ticks if t >= high)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    return [tick for tick in found if low * 0.999 <= tick <= high * 1.001]


def _label(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    shown = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{shown}>{escape(text)}</text>'
