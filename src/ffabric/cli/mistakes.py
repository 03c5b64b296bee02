"""What is wrong with a command line, each kind of mistake in a line that says what was meant.

The parser finds the mistake; how it tells of it changes with its version, and not all of what it
says is for people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from cyclopts import CycloptsError
from cyclopts.argument import Argument
from cyclopts.exceptions import (
    CoercionError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from ffabric.system.options.problems import did_you_mean

_FEW = 3
"""Of superfluous words, so many are told."""
_WANTED = {int: "a whole number", float: "a number", bool: "true or false"}


def line_of(error: CycloptsError) -> str:
    """The mistake as a line, which begins with the command."""
    tell = _TOLD.get(type(error))
    said = tell(error) if tell else " ".join(str(error).split())
    return f"{' '.join(error.command_chain)}: {said}" if error.command_chain else said


def _too_many(error: UnusedCliTokensError) -> str:
    unused = error.unused_tokens or []
    words = ", ".join(map(repr, unused[:_FEW])) + (" ..." if len(unused) > _FEW else "")
    words += " is too much" if len(unused) == 1 else " are too much"
    if flag := _flag_before(error, unused[0]):
        return f"{flag} takes no value: {words}"
    arguments = _arguments(error)
    taken = [_shown(each) for each in arguments if each.field_info.is_positional]
    what = " and ".join(taken) or "no argument"
    options = {name.lstrip("-"): name for name in _options(arguments)}
    hint = did_you_mean(unused[0], options).replace("mean '", "mean '--")
    return f"{words}: besides options it takes {what}{hint}"


def _flag_before(error: CycloptsError, word: str) -> str:
    """The option before a superfluous word, if it is one that takes no value."""
    before = ""
    for each in error.root_input_tokens or ():
        if each == word and before in _flags(_arguments(error)):
            return before
        before = each
    return ""


def _flags(arguments: Iterable[Argument]) -> set[str]:
    return {name for each in arguments if each.hint is bool for name in each.names}


def _missing(error: MissingArgumentError) -> str:
    assert error.argument is not None
    if error.keyword is None and error.argument.field_info.is_positional:
        given = [each for each in error.unused_tokens or () if each.startswith("-")]
        hint = "".join(did_you_mean(each, error.argument.names) for each in given[:1])
        return f"{_shown(error.argument)} is missing{hint}"
    return f"{error.keyword or error.argument.name} takes a value, and none is given"


def _unfit(error: CoercionError) -> str:
    token = error.token
    where = (token and token.keyword) or (_shown(error.argument) if error.argument else "")
    value = token.value if token else ""
    start = f"{where}: {value!r}" if where else repr(value)
    if error.msg is not None:
        return f"{start}: {error.msg}"
    choices = [each for each in _members(error.target_type) if isinstance(each, str)]
    if choices:
        return f"{start} is none of {', '.join(choices)}{did_you_mean(value, choices)}"
    wanted = next((_WANTED[each] for each in _members(error.target_type) if each in _WANTED), "")
    return f"{start} is not {wanted or 'what it takes'}"


def _members(type_: Any) -> Sequence[Any]:
    """The values of a Literal, or the types of a union; a type itself."""
    if get_origin(type_) is Literal:
        return get_args(type_)
    if isinstance(type_, UnionType):
        return [each for each in get_args(type_) if each is not NoneType]
    return [type_]


def _unknown_option(error: UnknownOptionError) -> str:
    name = error.token.keyword or error.token.value
    if not error.command_chain:
        return f"{name} is not an option; ffabric --help lists all commands"
    hint = did_you_mean(name, _options(error.argument_collection))
    return f"{name} is none of its options{hint}"


def _unknown_command(error: UnknownCommandError) -> str:
    (name, *_) = error.unused_tokens or [""]
    what = "an option" if name.startswith("-") else "a command"
    hint = did_you_mean(name, error.app or ())
    return f"{name!r} is not {what}{hint}; ffabric --help lists all commands"


def _repeated(error: RepeatArgumentError) -> str:
    return f"{error.token.keyword} is given twice"


def _arguments(error: CycloptsError) -> Iterable[Argument]:
    return () if error.app is None else error.app.assemble_argument_collection()


def _options(arguments: Iterable[Argument]) -> Iterator[str]:
    for each in arguments:
        if not each.field_info.is_positional:
            yield from each.names


def _shown(argument: Argument) -> str:
    """A positional argument as help shows it."""
    return argument.name.lstrip("-").upper()


_TOLD: dict[type[CycloptsError], Callable[[Any], str]] = {
    UnusedCliTokensError: _too_many,
    MissingArgumentError: _missing,
    CoercionError: _unfit,
    UnknownOptionError: _unknown_option,
    UnknownCommandError: _unknown_command,
    RepeatArgumentError: _repeated,
}
