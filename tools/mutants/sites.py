"""Where a source file can be changed: each site makes one mutant."""

from __future__ import annotations

import ast
import difflib
import random
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from mutants.mutant import Function, Mutant, functions, places
from mutants.operators import Span, operators


class Site(NamedTuple):
    """An operator, and which of the places in a file that it could change."""

    file: Path
    operator: Any
    occurrence: int
    line: int
    """From 0."""


def sites(file: Path) -> Iterator[Site]:
    """Every site in the bodies of the functions of ``file``.

    Annotations and docstrings are not executed, an ``assert`` states what is so in any case, and
    what a refusal says that it has compared is a text for people: they have none.
    """
    source = file.read_text("utf-8")
    tree = get_ast(source)
    nodes = list(ast_nodes(tree))
    bodies, texts = _bodies(source), _texts(source)
    for operator in operators():
        occurrence = 0
        for node in nodes:
            for (line, column), _ in operator.mutation_positions(node):
                if line - 1 in bodies and not _inside(texts, line, column):
                    yield Site(file, operator, occurrence, line - 1)
                occurrence += 1


def chosen(root: Path, folders: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """A sample: ``count`` different mutants of the files in ``folders``, by a ``seed``."""
    found: list[Site] = []
    for folder in folders:
        for file in sorted((root / folder).rglob("*.py")):
            found += sites(file)
    random.Random(seed).shuffle(found)  # noqa: S311 - a sample, no secret
    mutants: dict[Mutant, None] = {}
    for site in found:
        if len(mutants) == count:
            break
        mutant = mutant_of(root, site)
        if mutant is not None:
            mutants[mutant] = None
    return [*mutants]


def mutant_of(root: Path, site: Site) -> Mutant | None:
    """The mutant that a site makes; None if it changes nothing, or more than one place."""
    source = site.file.read_text("utf-8")
    changed = mutate_code(source, site.operator, site.occurrence)
    if changed is None:
        return None
    old, new = source.splitlines(), changed.splitlines()
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    blocks = [code for code in matcher.get_opcodes() if code[0] != "equal"]
    if len(blocks) != 1:
        return None
    _, first, end, from_, to = blocks[0]
    function = _innermost(source, first)
    if function is None or end == first:
        return None
    mutant = Mutant(
        file=site.file.relative_to(root).as_posix(),
        function=function.name,
        before=_block(old[first:end]),
        after=_block(new[from_:to]) or "pass",
    )
    nth = places(source, mutant).index(first)
    return Mutant(
        file=mutant.file,
        function=mutant.function,
        before=mutant.before,
        after=mutant.after,
        nth=nth,
    )


def _block(lines: list[str]) -> str:
    return textwrap.dedent("\n".join(lines))


def _innermost(source: str, line: int) -> Function | None:
    around = [each for each in functions(source) if each.first <= line < each.end]
    return min(around, key=lambda each: each.end - each.first, default=None)


def _bodies(source: str) -> set[int]:
    """The lines of functions' bodies that are executed and can be wrong."""
    found: set[int] = set()
    without: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node, clean=False) else node.body
            found.update(*(_lines(each) for each in body))
            for each in ast.walk(node):
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each is not node:
                    without |= set(range(each.lineno - 1, each.body[0].lineno - 1))
        elif _does_nothing(node):
            without |= _lines(node)
    return found - without


def _does_nothing(node: ast.AST) -> TypeGuard[ast.stmt]:
    """An assertion, a declaration without a value, a text that describes what is above it."""
    return (
        isinstance(node, ast.Assert)
        or (isinstance(node, ast.AnnAssign) and node.value is None)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    )


def _texts(source: str) -> list[Span]:
    """Where the types of variables are said, and what refusals have compared."""
    said: list[ast.expr] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign):
            said.append(node.annotation)
        elif _is_refusal(node):
            said += [each.value for each in node.keywords]
    return [
        ((each.lineno, each.col_offset), (each.end_lineno or 0, each.end_col_offset or 0))
        for each in said
    ]


def _is_refusal(node: ast.AST) -> TypeGuard[ast.Call]:
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(called, ast.Name) and called.id == "refuse"


def _inside(spans: list[Span], line: int, column: int) -> bool:
    return any(first <= (line, column) < end for first, end in spans)


def _lines(node: ast.stmt) -> set[int]:
    return set(range(node.lineno - 1, node.end_lineno or node.lineno))
