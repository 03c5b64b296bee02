"""Every call of FF-A: ids, versions, instances and what its registers hold."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import cast

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from ffabric.abi.ffa.functions import FUNCTIONS, Function, Instance
from ffabric.abi.ffa.registers import Arg, Kind
from ffabric_docs import markup, reserved
from ffabric_docs.domain import FfaDomain


class CallTables(SphinxDirective):
    """``{ffa-calls}``."""

    def run(self) -> list[nodes.Node]:
        """A table of all calls, then a section for each."""
        calls = [
            (name, list(group))
            for name, group in groupby(FUNCTIONS.values(), attrgetter("base_name"))
        ]
        overview = markup.section(
            "Overview",
            markup.paragraph(
                "↑: the lower exception level of the instance may make the call; "
                "↓: it may be delivered to it. NS phys.: between hypervisor or OS kernel and "
                "monitor; NS virt.: between VM and hypervisor; S phys.: between SPMC and monitor; "
                "S virt.: between SP and SPMC."
            ),
            markup.table(
                ("call", "32-bit", "64-bit", "since", *(_short(each) for each in Instance)),
                [self._row(*call) for call in calls],
                "ffa-overview",
            ),
        )
        return [overview, *(self._call(*call) for call in calls)]

    def _row(self, name: str, both: list[Function]) -> list[str | list[nodes.Node]]:
        link = nodes.reference("", "", nodes.literal("", name), internal=True, refid=name.lower())
        ids = {function.is_64: f"`{function.id:#010x}`" for function in both}
        first = both[0]
        where = [
            ("↑" if each in first.called_at else "") + ("↓" if each in first.delivered_at else "")
            for each in Instance
        ]
        held = markup.versions(first.since, first.until).removeprefix("since ")
        return [[link], ids.get(False, ""), ids.get(True, ""), held, *where]

    def _call(self, name: str, both: list[Function]) -> nodes.section:
        domain = cast("FfaDomain", self.env.get_domain("ffa"))
        first = both[0]
        domain.note("call", name, name.lower())
        for function in both:
            domain.note("call", function.name, name.lower())
        facts = " · ".join(
            text
            for text in (
                first.section,
                markup.versions(first.since, first.until),
                *(
                    f"`{function.id:#010x}` {64 if function.is_64 else 32}-bit"
                    + (
                        f" ({markup.versions(function.since, function.until)})"
                        if function.since != first.since
                        else ""
                    )
                    for function in both
                ),
            )
            if text
        )
        parts: list[nodes.Node] = [markup.paragraph(facts, classes=["ffa-source"])]
        if first.args:
            parts.append(_registers("Parameters", first.args, both))
        if (table := reserved.table(both)) is not None:
            parts.append(table)
        if first.replies:
            parts.append(_registers("FFA_SUCCESS", first.replies, both))
        return markup.section(name, *parts, code=True)


def _short(instance: Instance) -> str:
    words = {"non-secure": "NS", "secure": "S", "physical": "phys.", "virtual": "virt."}
    return " ".join(words[word] for word in instance.value.split())


def _registers(title: str, args: tuple[Arg, ...], both: list[Function]) -> nodes.table:
    widths = {function.is_64 for function in both}
    rows = [(_where(arg, widths), _what(arg)) for arg in args]
    return markup.table((title, ""), rows, "ffa-registers")


def _where(arg: Arg, widths: set[bool]) -> str:
    wide = arg.hi > 31
    last = arg.register + arg.count - 1
    letters = {True: "x", False: "w"}

    def span(letter: str) -> str:
        stop = last if letter == "x" else min(last, 7)
        first = f"{letter}{arg.register}"
        return first if stop <= arg.register else f"{first}-{letter}{stop}"

    if arg.count > 1 and not wide:
        return f"`{span('x' if widths == {True} and last > 7 else 'w')}`"
    if wide:
        return " or ".join(f"`{span(letters[width])}`" for width in sorted(widths))
    bits = f"[{arg.hi}:{arg.lo}]" if (arg.hi, arg.lo) != (31, 0) else ""
    return f"`w{arg.register}{bits}`"


def _what(arg: Arg) -> str:
    if not arg.name:
        return f"reserved: {arg.reserved}"
    parts = [f"`{arg.name}`"]
    if arg.kind not in (Kind.VALUE, Kind.FLAGS, Kind.PAYLOAD) and _kind(arg) != arg.name:
        parts.append(_kind(arg))
    if arg.word is not None:
        parts.append(", ".join(f"{_bits(bit.hi, bit.lo)} {bit.name}" for bit in arg.word.FIELDS))
    if arg.physical_only:
        parts.append("MBZ at virtual instances")
    if arg.note:
        parts.append(arg.note)
    if held := markup.versions(arg.since, arg.until):
        parts.append(held)
    return " · ".join(parts)


def _kind(arg: Arg) -> str:
    names = {Kind.UUID: "UUID", Kind.VCPU: "vCPU", Kind.INTID: "interrupt id"}
    return names.get(arg.kind, arg.kind.name.lower().replace("_", " "))


def _bits(hi: int, lo: int) -> str:
    return f"bit {hi}" if hi == lo else f"bits {hi}:{lo}"
