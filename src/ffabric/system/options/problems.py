"""What is wrong with the files that describe a system: every mistake, each in one line.

A reader collects into `Problems` and goes on; only at the end does it raise, with all of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import msgspec

_SHORT = 5  # two letters swapped weigh more in a short name


class Problem(msgspec.Struct, frozen=True):
    """One mistake: the file, the node path or table in it, the property or key, what is wrong.

    A `warning` is worth a line and does not stop anything.
    """

    file: str
    where: str
    key: str
    message: str
    warning: bool = False

    def __str__(self) -> str:
        parts = (self.file, "warning" if self.warning else "", self.where, self.key, self.message)
        return ": ".join(part for part in parts if part)


class ConfigErrors(ValueError):  # noqa: N818 (it is several errors)
    """Everything that is wrong with a system description; `problems` holds one `Problem` each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class ManifestErrors(ConfigErrors):
    """What is wrong with a partition's or an SPMC's manifest."""


class LayoutErrors(ConfigErrors):
    """What is wrong with an sp_layout.json."""


class PackageErrors(ConfigErrors):
    """What is wrong with an SP package or an image."""


class SystemErrors(ConfigErrors):
    """What is wrong with a system's TOML, or with a system described in Python."""


class Problems:
    """The problems found so far in one file. `where` and `key` as in `Problem`."""

    def __init__(self, file: str = "") -> None:
        self.file = file
        self.found: list[Problem] = []

    def add(self, where: str, key: str, message: str) -> None:
        """Note a mistake."""
        self.found.append(Problem(self.file, where, key, message))

    def warn(self, where: str, key: str, message: str) -> None:
        """Note something odd."""
        self.found.append(Problem(self.file, where, key, message, warning=True))

    def extend(self, problems: Iterable[Problem]) -> None:
        """Take over the problems of another file."""
        self.found.extend(problems)

    @property
    def errors(self) -> list[Problem]:
        """The problems that are not mere warnings."""
        return [problem for problem in self.found if not problem.warning]

    def check(self, kind: type[ConfigErrors]) -> None:
        """Raise `kind` with everything found, if any of it is more than a warning."""
        if self.errors:
            raise kind(self.found)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A tail for a message: " (did you mean 'x'?)", or nothing if no known name is close."""
    cutoff = 0.6 if len(name) < _SHORT else 0.75
    close = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f" (did you mean {close[0]!r}?)" if close else ""
