"""Errors for people: what a command line user may have done wrong, one line each."""

from __future__ import annotations

import sys

_EXPECTED = (
    ("ffabric.system.options.problems", "ConfigErrors"),
    ("ffabric.abi.errors", "DecodeError"),
    ("ffabric.system.booting.engines.extras", "MissingExtra"),
    ("ffabric.system.booting.platform", "PlatformCallError"),
    ("ffabric.machine.host.process", "MissingProgram"),
    ("ffabric.machine.choices", "ReplayError"),
    ("cyclopts", "CycloptsError"),
)
"""Where they are, besides our own and the system's."""


class UsageError(Exception):
    """A command was asked for something it cannot do; the message is the line to print."""


def check_number(name: str, value: float, least: int, most: int | None = None) -> None:
    """UsageError if the ``value`` of an option is less than ``least``, or more than ``most``."""
    if value >= least and (most is None or value <= most):
        return
    bounds = f"at least {least}" if most is None else f"{least} to {most}"
    raise UsageError(f"{name} {value:g}: {bounds}")


def expected() -> tuple[type[Exception], ...]:
    """The errors that are the user's to mend, of the modules that have been loaded.

    What nobody has loaded, nobody has raised.
    """
    found: list[type[Exception]] = [UsageError, OSError]
    for name, error in _EXPECTED:
        module = sys.modules.get(name)
        if module is not None:
            found.append(getattr(module, error))
    return tuple(found)


def lines_of(error: Exception) -> list[str]:
    """The error as lines: every problem of a configuration, the file of a system error."""
    if isinstance(error, OSError) and error.strerror:
        return [f"{error.filename}: {error.strerror}" if error.filename else error.strerror]
    parser = sys.modules.get("cyclopts")
    if parser is not None and isinstance(error, parser.CycloptsError):
        from ffabric.cli.mistakes import line_of  # noqa: PLC0415 - an extra is there

        return [line_of(error)]
    return str(error).splitlines() or [type(error).__name__]
