"""What is wrong with the files that describe a system: every mistake, each in one line.

A reader collects into `Problems` and goes on; only at the end does it raise, with all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from ffabric.system.options.visible import visible

T = TypeVar("T")

MOST = 200
"""Problems that are listed of a file."""
_SHORT = 5  # two letters swapped weigh more in a short name
_LONGEST = 1000  # characters of a line about a problem


class Problem(msgspec.Struct, frozen=True):
    """One mistake: the file, the node path or table in it, the property or key, what is wrong.

    A `warning` is worth a line and does not stop anything. As text it is one line, whatever the
    names in it are.
    """

    file: str
    where: str
    key: str
    message: str
    warning: bool = False

    def __str__(self) -> str:
        parts = (self.file, "warning" if self.warning else "", self.where, self.key, self.message)
        text = visible(": ".join(part for part in parts if part))
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


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


class SystemErrors(ConfigErrors):
    """What is wrong with a system's TOML, or with a system described in Python."""


class Problems:
    """The problems found so far in one file. `where` and `key` as in `Problem`.

    After `MOST` of them nobody needs more: the last one says so, and it is a mistake.
    """

    def __init__(self, file: str = "") -> None:
        self.file = file
        self.found: list[Problem] = []
        self.origins: dict[tuple[str, str], str] = {}
        """The files of keys, or of whole tables (key ""), that `file` has from another."""

    @property
    def full(self) -> bool:
        """Whether so much is wrong that to look further is of no use."""
        return len(self.found) > MOST

    def add(self, where: str, key: str, message: str) -> None:
        """Note a mistake."""
        self._note(Problem(self.origin(where, key), where, key, message))

    def warn(self, where: str, key: str, message: str) -> None:
        """Note something odd."""
        self._note(Problem(self.origin(where, key), where, key, message, warning=True))

    def origin(self, where: str, key: str) -> str:
        """The file that a key of a table is from."""
        origins = self.origins
        return origins.get((where, key)) or origins.get((where, "")) or self.file

    def _note(self, problem: Problem) -> None:
        """Note ``problem``; what is said twice is a line all the same."""
        if problem in self.found:
            return
        if len(self.found) < MOST:
            self.found.append(problem)
        elif not self.full:
            self.found.append(Problem(self.file, "", "", f"more than {MOST} problems"))

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


def at_most(most: int, entries: Sequence[T], where: str, problems: Problems) -> Sequence[T]:
    """The first ``most`` of what is at ``where``, and a problem if there is more."""
    if len(entries) > most:
        problems.add(where, "", f"{len(entries)} entries: at most {most} are read")
    return entries[:most]


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A tail for a message: " (did you mean 'x'?)", or nothing if no known name is close."""
    if not isinstance(name, str):
        return ""
    import difflib  # noqa: PLC0415 - only mistakes pay for it

    cutoff = 0.6 if len(name) < _SHORT else 0.75
    close = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f" (did you mean {close[0]!r}?)" if close else ""
