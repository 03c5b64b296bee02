"""How calls say what their registers hold: one `Arg` per line of the specification's table.

A field is some bits of a register, or of several consecutive ones (a handle in w1 and w2, a
UUID in x1 and x2). What no field covers is reserved: MBZ in v1.0, SBZ from v1.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Final

from msgspec import Struct

from ffabric.abi.bits import ALWAYS, Word
from ffabric.abi.ffa.version import V1_0, V1_1
from ffabric.abi.words import MASK32

WIDE: Final = 63  # `hi` of a field that is a whole register: x in a 64-bit call, w in a 32-bit one


class Kind(Enum):
    """What a field means, and so how it reads."""

    VALUE = auto()
    ADDRESS = auto()
    BITMAP = auto()
    COUNT = auto()
    ENDPOINT = auto()
    FEATURE = auto()
    FLAGS = auto()
    HANDLE = auto()
    INTID = auto()
    LENGTH = auto()
    PAGES = auto()
    PAYLOAD = auto()
    PSCI_FUNCTION = auto()
    PSCI_STATUS = auto()
    STATUS = auto()
    TEXT = auto()
    UUID = auto()
    VCPU = auto()
    VERSION = auto()


class Arg(Struct, frozen=True):
    """Bits `hi`:`lo` of `register` and of the `count` - 1 registers that follow it.

    `reserved` ("MBZ" or "SBZ") says what the undefined bits of a flag `word` are, or that the
    whole field is reserved if its name is empty. A `physical_only` field is MBZ at virtual
    FF-A instances. `note` is what else there is to say of it.
    """

    name: str
    register: int
    hi: int = 31
    lo: int = 0
    kind: Kind = Kind.VALUE
    count: int = 1
    word: type[Word] | None = None
    since: int = 0
    until: int = ALWAYS
    reserved: str = ""
    physical_only: bool = False
    note: str = ""

    def span(self, *, is_64: bool) -> range:
        """Its registers; a 32-bit call has none past w7."""
        return range(self.register, min(self.register + self.count, 18 if is_64 else 8))

    def width(self, *, is_64: bool) -> int:
        """The bits that each of its registers contributes; none if they are past a w register."""
        return max(0, (self.hi if is_64 else min(self.hi, 31)) - self.lo + 1)

    def get(self, regs: Sequence[int], *, is_64: bool) -> int:
        """The content of the field; its first register holds the lowest bits."""
        width = self.width(is_64=is_64)
        mask = (1 << width) - 1
        value = 0
        for index, register in enumerate(self.span(is_64=is_64)):
            value |= (regs[register] >> self.lo & mask) << index * width
        return value

    def put(self, regs: list[int], value: int, *, is_64: bool) -> None:
        """Or `value` into its registers; ValueError if it does not fit."""
        width = self.width(is_64=is_64)
        span = self.span(is_64=is_64)
        if not 0 <= value < 1 << width * len(span):
            raise ValueError(f"{self.name}: {value:#x} does not fit into {width * len(span)} bits")
        for index, register in enumerate(span):
            regs[register] |= (value >> index * width & (1 << width) - 1) << self.lo


class Reserved(Struct, frozen=True):
    """Bits that must ("MBZ") or should ("SBZ") be zero."""

    register: int
    mask: int
    rule: str

    @property
    def name(self) -> str:
        """`w3`, or `x3` if any of the bits are in the upper half."""
        return f"{'x' if self.mask > MASK32 else 'w'}{self.register}"

    def __str__(self) -> str:
        return f"register {self.register} & {self.mask:#x} {self.rule}"


def endpoint(name: str, register: int, hi: int, lo: int, *, physical_only: bool = False) -> Arg:
    """A 16-bit endpoint ID."""
    return Arg(name, register, hi, lo, Kind.ENDPOINT, physical_only=physical_only)


def vcpu(name: str, register: int, hi: int, lo: int, *, physical_only: bool = False) -> Arg:
    """A 16-bit vCPU ID."""
    return Arg(name, register, hi, lo, Kind.VCPU, physical_only=physical_only)


def flags(
    name: str,
    register: int,
    word: type[Word],
    reserved: str = "MBZ",
    *,
    since: int = 0,
    until: int = ALWAYS,
) -> Arg:
    """A 32-bit word of flags."""
    return Arg(
        name, register, 31, 0, Kind.FLAGS, 1, word, since=since, until=until, reserved=reserved
    )


def pair(name: str, register: int, kind: Kind) -> Arg:
    """64 bits in two w registers, low half first."""
    return Arg(name, register, 31, 0, kind, 2)


def payload(first: int, last: int, *, since: int = 0, until: int = ALWAYS) -> Arg:
    """Registers that belong to whoever sends the message."""
    return Arg("payload", first, WIDE, 0, Kind.PAYLOAD, last - first + 1, since=since, until=until)


def mbz(first: int, last: int | None = None) -> Arg:
    """Whole registers that must be zero in every version."""
    return Arg("", first, WIDE, 0, count=(last or first) - first + 1, reserved="MBZ")


def mbz_bits(register: int, hi: int, lo: int) -> Arg:
    """Bits of a register that must be zero in every version."""
    return Arg("", register, hi, lo, reserved="MBZ")


def at_version(args: Iterable[Arg], version: int) -> tuple[Arg, ...]:
    """The fields that a version defines."""
    return tuple(arg for arg in args if arg.since <= version <= arg.until)


def encode(args: Iterable[Arg], regs: list[int], values: Mapping[str, int], *, is_64: bool) -> None:
    """Put named values into registers; ValueError for an unknown name or a value too wide."""
    fields = {arg.name: arg for arg in args if arg.name}
    if unknown := values.keys() - fields.keys():
        raise ValueError(f"no field {', '.join(sorted(unknown))}, but {', '.join(fields)}")
    for name, value in values.items():
        fields[name].put(regs, value, is_64=is_64)


def _covered(arg: Arg, version: int, *, is_64: bool, virtual: bool) -> tuple[int, list[Reserved]]:
    """The mask of each of a field's registers that it covers, and what is reserved inside it."""
    mask = (1 << arg.width(is_64=is_64)) - 1 << arg.lo
    rule = arg.reserved
    inside = 0
    if not arg.name or (virtual and arg.physical_only):
        inside, rule = mask, rule or "MBZ"
    elif arg.word is not None:
        inside = mask & ~arg.word.defined(version)
    if not inside:
        return mask, []
    return mask, [Reserved(register, inside, rule) for register in arg.span(is_64=is_64)]


def reserved(
    args: Iterable[Arg], last: int, version: int, *, is_64: bool, virtual: bool
) -> list[Reserved]:
    """All reserved bits of registers 1 to `last`.

    A register that holds only fields of 32 bits counts as a w register: its upper half is not
    part of the call. `virtual` is whether the FF-A instance is a virtual one.
    """
    result = []
    covered = dict.fromkeys(range(1, 18), 0)
    width = dict.fromkeys(covered, 64 if is_64 else 32)
    fields = at_version(args, version)
    for arg in fields:
        mask, inside = _covered(arg, version, is_64=is_64, virtual=virtual)
        result += inside
        for register in arg.span(is_64=is_64):
            width[register] = 32
            covered[register] |= mask
    for arg in fields:
        if is_64 and arg.hi > 31:
            width.update(dict.fromkeys(arg.span(is_64=is_64), 64))
    rule = "MBZ" if version < V1_1 else "SBZ"
    for register, mask in covered.items():
        rest = (1 << width[register]) - 1 & ~mask
        if rest and register <= last:
            result.append(Reserved(register, rest, rule))
    return sorted(result, key=lambda item: (item.register, item.mask))


REGISTERS_32: Final = 7  # the last parameter register of a 32-bit call
_REGISTERS_64: Final = {V1_0: 7, V1_1: 7}


def last_register(version: int, *, is_64: bool) -> int:
    """The last parameter register: w7, or x17 of 64-bit calls since v1.2 (SMCCC v1.2)."""
    return _REGISTERS_64.get(version, 17) if is_64 else REGISTERS_32
