"""Every kind of line that a trace can have, from the declarations of the events."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from types import ModuleType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from ffabric.firmware.state import events as firmware
from ffabric.machine import events as machine
from ffabric.machine.context import REGISTERS
from ffabric.machine.events import Record
from ffabric.observe import lines
from ffabric_docs import markup

ROOMS = (
    (lines, "The file"),
    (machine, "What processing elements do"),
    (firmware, "What the exception levels above do"),
)
"""Where kinds are declared, in the order of the page."""

WORDS = {
    int: "number",
    machine.NUMBER: "number",
    str: "string",
    bool: "`true` or `false`",
    bytes: "string of hexadecimal digits",
    type(None): "`null`",
    machine.HEXADECIMAL: "hexadecimal string",
    machine.REGISTERS: f"list of up to {REGISTERS} hexadecimal strings",
}


def _x(*registers: int) -> tuple[int, ...]:
    return (*registers, *[0] * (REGISTERS - len(registers)))


_REQUEST = _x(0xC400006F, 0x18001, 0, 2, 3)
_SHARE = _x(0xC4000073, 0x70, 0x70)
_SP = (0, "adder", 0)
_VM = (0, "client", 0)

_ALL: tuple[Record, ...] = (
    lines.Header(
        format=lines.FORMAT,
        system="sums",
        seed=1,
        hypervisor=True,
        endpoints={"adder": 0x8001, "client": 1},
        services={"adder": ("5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11",)},
    ),
    lines.Choices((1, 0, 0, 2)),
    lines.Scene("memory is shared", t=31_500),
    machine.Call(*_VM, _SHARE, ((0x4000_1000, bytes.fromhex("01002f00")),), t=12_500),
    machine.Return(*_VM, _x(0x84000061, 0, 1), t=13_000),
    machine.Resume(*_SP, t=4_000),
    machine.Start(*_SP, 0x4000_4000, 0x4000_0000),
    machine.Slice(*_VM, t=113_000),
    machine.Idle(*_VM, t=114_200),
    machine.DmaRefused(
        device="dma",
        smmu=0,
        stream=1,
        secure=True,
        address=0x770_0000,
        write=True,
        reason="F_PERMISSION",
        t=116_000,
    ),
    machine.Abort(
        *_VM,
        fault="data",
        ipa=0x9000_0008,
        va=0x9000_0008,
        write=True,
        syndrome=0x9200_0046,
        pc=0x4000_2040,
        t=20_140,
    ),
    machine.Crash(*_SP, "ValueError: no more", t=21_000),
    firmware.Hop(0, "normal-world", 0, _REQUEST, t=14_500),
    firmware.Refuse(
        *_VM,
        rule="mem.share.unaligned_base",
        section="DEN0140 1.2, table 1.13",
        status="INVALID_PARAMETERS",
        text="The base address of a constituent is aligned to the page.",
        got="0x40001001",
        expected="a multiple of 0x1000",
        t=15_000,
    ),
    firmware.Enter(0, "op-tee", 0, "fast", _x(0xB2000009), t=16_500),
    firmware.Preempt(*_VM, "adder.0", t=41_000),
    firmware.ReservedBits(*_VM, "FFA_MSG_WAIT", "w3", 0xA5, "SBZ", "DEN0077A v1.2, 14.1", t=14_400),
    firmware.World(0, "secure", t=14_500),
    firmware.Interrupt(0, 41, "adder", t=41_000),
    firmware.Group0(0, 56, t=41_500),
    firmware.Notification(0, 1, None, 0x2, t=51_000),
    firmware.Permissions(0, "adder", 0x4000_8000, 2, t=3_000),
    firmware.Logical(0, "spmd-lp", t=61_000),
    firmware.VmCreated(0, "heir", 3, t=70_500),
    firmware.MemoryDonated("host", "guest", ((0x4010_0000, 0x8030_0000, 512),), t=260_000),
    firmware.MemoryReturned("host", ((0x4010_0000, 0x8030_0000, 512),), t=290_000),
    firmware.VmDestroyed(0, "heir", "powered itself off", t=81_000),
    firmware.VmGone(0, "heir", t=83_500),
    firmware.Rx("client", full=True, length=64, t=17_000),
    firmware.Console("client", "2 + 3 = 5", 0, t=18_000),
    firmware.Share("client", ((0x4000_1000, 3),), t=12_500),
    firmware.Lend("client", ((0x4000_1000, 3),), t=12_500),
    firmware.Donate("client", ((0x4000_1000, 3),), t=12_500),
    firmware.Restore("client", ((0x4000_1000, 3),), t=29_000),
    firmware.Retrieve("adder", ((0x8800_1000, 0x8800_1000, 3),), t=22_000),
    firmware.Relinquish("adder", ((0x8800_1000, 0x8800_1000, 3),), t=27_500),
    firmware.Aborted("adder", "ValueError: no more", t=21_000),
    firmware.Restarted("adder", t=21_500),
    firmware.Activation(0, "adder", "stopped", t=22_500),
)
EXAMPLES = {type(each): each for each in _ALL}
"""One of each kind: a kind that is missing is an error of the build."""


class Events(SphinxDirective):
    """``{ffa-events}``."""

    def run(self) -> list[nodes.Node]:
        """A section for each room, in it one for each kind."""
        return [
            markup.section(
                title,
                *(self._kind(kind) for kind in _declared(room)),
            )
            for room, title in ROOMS
        ]

    def _kind(self, kind: type[Record]) -> nodes.section:
        example = EXAMPLES[kind]
        code = nodes.literal_block("", lines.write(example).rstrip(), language="json")
        return markup.section(example.kind, *_said(kind), _fields(kind), code, code=True)


def _declared(room: ModuleType) -> list[type[Record]]:
    """The kinds of a module, in the order in which it declares them."""
    kinds = [each for each in lines.KINDS.values() if each.__module__ == room.__name__]
    return sorted(kinds, key=lambda kind: inspect.getsourcelines(kind)[1])


def _said(kind: type[Record]) -> Iterator[nodes.paragraph]:
    for part in inspect.getdoc(kind).split("\n\n"):  # type: ignore[union-attr]
        yield markup.paragraph(_plain(part))


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


def _fields(kind: type[Record]) -> nodes.table:
    hints = get_type_hints(kind, include_extras=True)
    meanings = _meanings(kind)
    fields = sorted(msgspec.structs.fields(kind), key=lambda field: field.name != "t")
    rows = []
    for field in fields:
        left_out = not field.required and field.name != "t"
        meaning = _plain(meanings[field.name])
        absent = f" Left out if it is {_absent(field)}." if left_out else ""
        rows.append((f"`{field.name}`", _type(hints[field.name]), meaning + absent))
    return markup.table(("field", "", ""), rows, "ffa-registers")


def _absent(field: msgspec.structs.FieldInfo) -> str:
    made = field.default_factory
    default = field.default if made is msgspec.NODEFAULT else made()
    return "empty" if default == () else f"`{msgspec.json.encode(default).decode()}`"


def _meanings(kind: type[Record]) -> dict[str, str]:
    """The text below each field, in the source of the struct and of those that it extends."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, Record):
            found.update(_below(textwrap.dedent(inspect.getsource(base))))
    return found


def _below(source: str) -> Iterable[tuple[str, str]]:
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(text, ast.Expr)
            assert isinstance(text.value, ast.Constant)
            yield field.target.id, str(text.value.value)


def _type(hint: Any) -> str:
    """A declared type, as JSON has it."""
    if get_origin(hint) is Annotated:
        return WORDS[hint.__metadata__[0].extra["form"]]
    if hint in WORDS:
        return WORDS[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in inner)
    if origin in (UnionType, Union):
        return " or ".join(map(_type, inner))
    if origin is dict:
        return f"object: name to {_type(inner[1])}"
    if inner[-1] is Ellipsis:
        return f"list of {_type(inner[0])}"
    return f"[{', '.join(map(_type, inner))}]"
