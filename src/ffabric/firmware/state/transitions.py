"""What the table of execution contexts is written in: verbs are rows, two contexts the columns.

A verb takes the PE from one context and gives it to another, or changes one context alone. Its row
says of each of them from which state it goes to which, and what becomes of its place in the chain.
A field that a row does not mention stays as it is.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

S = TypeVar("S", bound=enum.Enum)
F = TypeVar("F", bound=Callable[..., object])


class Becomes(enum.Enum):
    """What a field becomes, where it is not a constant."""

    OTHER = "the other context"
    LENDER = "the other context, if this one runs under RTM_FFA_RUN"
    GIVEN = "what the verb is told"


class Part(Generic[S]):
    """What a verb does to one context: `moves` from state to state, and `sets` fields."""

    __slots__ = ("moves", "sets")

    def __init__(self, moves: dict[S, S], **sets: object) -> None:
        self.moves = moves
        self.sets = sets


class Verb(msgspec.Struct, Generic[S], frozen=True):
    """A row of the table."""

    name: str
    text: str
    """What happens, as a sentence."""
    levels: tuple[str, ...]
    """The exception levels that do it, by name."""
    own: Part[S]
    """What happens to the context whose method the verb is."""
    other: Part[S] | None
    """What happens to the other one: the first argument, which may be None if there is none."""
    through: str
    """The field in which the other one is found instead, if it is no argument."""


class Table(Generic[S]):
    """Verbs by name, in the order in which they are declared."""

    def __init__(self) -> None:
        self.verbs: dict[str, Verb[S]] = {}

    def verb(
        self, *levels: str, own: Part[S], other: Part[S] | None = None, through: str = ""
    ) -> Callable[[F], F]:
        """Declare a method to be a verb with this row; its docstring's first line is the text."""

        def declare(method: F) -> F:
            name = method.__name__
            text = (method.__doc__ or "").partition("\n")[0]
            self.verbs[name] = Verb(name, text, levels, own, other, through)
            return method

        return declare
