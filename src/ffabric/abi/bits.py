"""Words made of bit fields, declared as the manual prints them.

After this declaration `Attributes(0x6F).TYPE` is `MemoryType.NORMAL`, `str()` of it is
`0x6f (NS=1, TYPE=NORMAL)` and `Attributes.build(NS=1)` is `0x40 (NS=1, TYPE=NOT_SPECIFIED)`:

    class Attributes(Word):
        NS = Bit(6)
        TYPE = Bits(5, 4, MemoryType)

Words are for rules, traces and people; a hot path masks plain integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache, reduce
from operator import or_
from typing import Any, ClassVar, Final, Generic, Self, TypeVar, overload

T = TypeVar("T", bound=int)
E = TypeVar("E", bound=IntEnum)

ALWAYS: Final = 1 << 32  # later than every version number


class Bits(Generic[T]):
    """The field `hi`:`lo`; its values are an enumeration or plain integers.

    `since` and `until` are the versions of the specification that define it.
    """

    @overload
    def __init__(
        self: Bits[int], hi: int, lo: int, enum: None = None, *, since: int = 0, until: int = ALWAYS
    ) -> None: ...
    @overload
    def __init__(
        self: Bits[E], hi: int, lo: int, enum: type[E], *, since: int = 0, until: int = ALWAYS
    ) -> None: ...
    def __init__(
        self,
        hi: int,
        lo: int,
        enum: type[IntEnum] | None = None,
        *,
        since: int = 0,
        until: int = ALWAYS,
    ) -> None:
        self.hi: Final = hi
        self.lo: Final = lo
        self.width: Final = hi - lo + 1
        self.mask: Final = (1 << self.width) - 1 << lo
        self.enum: Final = enum
        self.since: Final = since
        self.until: Final = until
        self.name: str = ""
        self._members: dict[int, Any] = {} if enum is None else {int(m): m for m in enum}

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, word: None, owner: type) -> Self: ...
    @overload
    def __get__(self, word: Word, owner: type) -> T: ...
    def __get__(self, word: Word | None, owner: type) -> Self | T:
        return self if word is None else self.of(word)

    def of(self, value: int) -> T:
        """The field of a value; a value that the enumeration lacks stays a plain integer."""
        content: Any = (value & self.mask) >> self.lo
        result: T = self._members.get(content, content)
        return result

    def put(self, content: int) -> int:
        """`content` shifted into place; ValueError if it does not fit."""
        if not 0 <= content < 1 << self.width:
            raise ValueError(f"{self.name}: {content:#x} does not fit into {self.width} bits")
        return content << self.lo


class Bit(Bits[int]):
    """A field of one bit."""

    def __init__(self, position: int, *, since: int = 0, until: int = ALWAYS) -> None:
        super().__init__(position, position, since=since, until=until)


class Word(int):
    """An integer with named fields."""

    FIELDS: ClassVar[tuple[Bits[Any], ...]] = ()

    def __init_subclass__(cls) -> None:
        own = (value for value in vars(cls).values() if isinstance(value, Bits))
        cls.FIELDS = (*cls.FIELDS, *own)

    @classmethod
    def build(cls, **contents: int) -> Self:
        """The word with these fields and zeros elsewhere; ValueError for an unknown or wide one."""
        fields = {field.name: field for field in cls.FIELDS}
        if unknown := contents.keys() - fields.keys():
            raise ValueError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
        return cls(sum(fields[name].put(content) for name, content in contents.items()))

    @classmethod
    @lru_cache(256)
    def defined(cls, version: int = 0) -> int:
        """The mask of all bits that a version defines; the others are reserved."""
        masks = (field.mask for field in cls.FIELDS if field.since <= version <= field.until)
        return reduce(or_, masks, 0)

    def fields(self) -> Iterator[tuple[str, int]]:
        """The name and the content of every field, as declared."""
        return ((field.name, field.of(self)) for field in self.FIELDS)

    def __repr__(self) -> str:
        shown = [
            f"{field.name}={content.name if isinstance(content, IntEnum) else content}"
            for field in self.FIELDS
            if (content := field.of(self)) or field.enum is not None
        ]
        known = reduce(or_, (field.mask for field in self.FIELDS), 0)
        if unknown := int(self) & ~known:
            shown.append(f"reserved={unknown:#x}")
        return f"{int(self):#x} ({', '.join(shown)})" if shown else f"{int(self):#x}"

    __str__ = __repr__
