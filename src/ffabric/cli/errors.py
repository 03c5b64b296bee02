"""Errors for people: what a command line user may have done wrong, one line each."""

from __future__ import annotations

from ffabric.abi.errors import DecodeError
from ffabric.machine.choices import ReplayError
from ffabric.machine.host.process import MissingProgram
from ffabric.system.booting.extras import MissingExtra
from ffabric.system.options.problems import ConfigErrors


class UsageError(Exception):
    """A command was asked for something it cannot do; the message is the line to print."""


EXPECTED = (
    UsageError,
    ConfigErrors,
    DecodeError,
    MissingExtra,
    MissingProgram,
    ReplayError,
    OSError,
)
"""The errors that are the user's to mend."""


def lines_of(error: Exception) -> list[str]:
    """The error as lines: every problem of a configuration, the file of a system error."""
    if isinstance(error, OSError) and error.filename:
        return [f"{error.filename}: {error.strerror}"]
    return str(error).splitlines() or [type(error).__name__]
