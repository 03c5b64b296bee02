"""How a parameter of a command is written on the command line, beyond what its type says.

The functions in `ffabric.cli.main.COMMANDS` are the one declaration of what commands take: names,
types and defaults of their parameters, with an `Option` in an annotation where that is not enough.
Both parsers read them: `ffabric.cli.plain` what is nearly always written, `ffabric.cli.full` the
rest, help and errors among it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints


class Option(NamedTuple):
    """What an annotation says: ``Annotated[bool, Option(alias="-v")]``."""

    name: str = ""
    """Its name on the command line; "": that of the parameter."""
    alias: str = ""
    """A short name."""
    hyphens: bool = False
    """A value may begin with a hyphen."""
    positive: bool = False
    """Nothing negates it: there is no ``--no-...`` beside it."""


PLAIN = Option()


def declared(function: Callable[..., Any]) -> dict[str, tuple[Any, Option]]:
    """The parameters of a command by name: the type of each, and how it is written."""
    found = {}
    for name, hint in get_type_hints(function, include_extras=True).items():
        if name != "return":
            found[name] = _split(hint)
    return found


def _split(hint: Any) -> tuple[Any, Option]:
    if get_origin(hint) is not Annotated:
        return hint, PLAIN
    type_, *notes = get_args(hint)
    return type_, next((each for each in notes if isinstance(each, Option)), PLAIN)
