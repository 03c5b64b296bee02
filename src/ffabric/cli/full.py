"""The full parser of the command line: every form there is, help, and what is wrong with a line."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Annotated, Any

from cyclopts import App, CoercionError, Parameter, Token

from ffabric.cli.option import PLAIN, Option, declared


def load(where: str) -> Callable[..., Any]:
    """The function at "module:name"."""
    module, _, name = where.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def add(app: App, name: str, function: Callable[..., Any], text: str | None = None) -> None:
    """Let ``app`` have a command, whose parameters are as `ffabric.cli.option` says."""
    for parameter, (type_, option) in declared(function).items():
        if option is not PLAIN or type_ in _WHOLE:
            whole = {"converter": _whole} if type_ in _WHOLE else {}
            function.__annotations__[parameter] = Annotated[
                type_, option, _parameter(option, **whole)
            ]
    app.command(function, name=name, help=text)


_WHOLE = (int, int | None)


def _whole(type_: Any, tokens: Sequence[Token]) -> int:
    """A whole number as it is, which the parser would round if it were none: 1.5."""
    word = tokens[0].value
    try:
        return int(word, 10)
    except ValueError:
        pass
    try:
        return int(word, 0)
    except ValueError:
        raise CoercionError(token=tokens[0], target_type=int) from None


def _parameter(option: Option, **said: Any) -> Parameter:
    """An `Option` in the words of cyclopts."""
    if option.name:
        said["name"] = option.name
    if option.alias:
        said["alias"] = option.alias
    if option.hyphens:
        said["allow_leading_hyphen"] = True
    if option.positive:
        said["negative"] = ()
    return Parameter(**said)


def application(
    commands: Mapping[str, tuple[str, str]], wanted: Container[str], *, version: str, text: str
) -> App:
    """The parser of all ``commands`` (name -> function and text): it knows ``wanted`` whole."""
    app = App(
        name="ffabric",
        help=text,
        version=version,
        suppress_keyboard_interrupt=False,
        exit_on_error=False,
        print_error=False,
    )
    for name, (where, what) in commands.items():
        if name in wanted:
            add(app, name, load(where), what)
        else:
            app.command(where, name=name, help=what)
    return app
