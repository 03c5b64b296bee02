"""A mutant, named so that it can be found again when the code around it has moved.

It is named by the qualified name of its function and by the text of the lines that change, not by
line numbers; not even by its file, if that function is in one file only.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec


class Lost(Exception):  # noqa: N818 - it is, and that is all
    """The code that a mutant changes is not there any more; the message is a line."""


class Mutant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of a function: the lines ``before``, where they stand for the ``nth`` time."""

    file: str
    """Path below the root of the project."""
    function: str
    """Qualified name, "Class.method"; what is defined in a function is below its name."""
    before: str
    """Whole lines, without the indentation of the first."""
    after: str
    nth: int = 0

    def __str__(self) -> str:
        change = f"{_short(self.before)}  ->  {_short(self.after)}"
        return f"{self.file}: {self.function}: {change}"


class Function(msgspec.Struct, frozen=True):
    """A function of a source file: its qualified name, its first line and the one behind it."""

    name: str
    first: int
    end: int


def functions(source: str) -> Iterator[Function]:
    """Every function of ``source``; lines are counted from 0, decorators belong to it."""
    yield from _functions(ast.parse(source), "")


def _functions(node: ast.AST, prefix: str) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}{child.name}"
            if not isinstance(child, ast.ClassDef):
                first = min([child.lineno, *(each.lineno for each in child.decorator_list)])
                yield Function(name, first - 1, child.end_lineno or child.lineno)
            yield from _functions(child, f"{name}.")
        else:
            yield from _functions(child, prefix)


def places(source: str, mutant: Mutant) -> list[int]:
    """The lines of ``source``, from 0, at which the mutant's lines begin in its function."""
    lines = source.splitlines()
    wanted = [line.strip() for line in mutant.before.splitlines()]
    return [
        at
        for function in functions(source)
        if function.name == mutant.function
        for at in range(function.first, function.end - len(wanted) + 1)
        if [line.strip() for line in lines[at : at + len(wanted)]] == wanted
    ]


def mutate(source: str, mutant: Mutant) -> str:
    """``source`` with the change. Raises Lost if the lines are not there."""
    found = places(source, mutant)
    if len(found) <= mutant.nth:
        raise Lost(f"{mutant.file}: {mutant.function} has no {mutant.before!r} any more")
    at = found[mutant.nth]
    lines = source.splitlines()
    end = at + len(mutant.before.splitlines())
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    lines[at:end] = textwrap.indent(mutant.after, indent).splitlines()
    return "\n".join(lines) + "\n"


def whereabouts(root: Path, mutant: Mutant, folders: Sequence[str]) -> Path:
    """The file that has the mutant's code: its own, or the only one of ``folders`` that has it.

    Raises Lost if there is none, or if there are several and its own is not among them.
    """
    own = root / mutant.file
    if own.is_file() and len(places(own.read_text("utf-8"), mutant)) > mutant.nth:
        return own
    others = [
        path
        for folder in folders
        for path in sorted((root / folder).rglob("*.py"))
        if len(places(path.read_text("utf-8"), mutant)) > mutant.nth
    ]
    if len(others) != 1:
        raise Lost(f"{mutant.file}: {mutant.function} has no {_short(mutant.before)!r} any more")
    return others[0]


def _short(text: str) -> str:
    return textwrap.shorten(" ".join(text.split()), 70, placeholder=" ...")
