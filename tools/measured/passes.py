"""Whether a call has come to where a rule is judged, and has passed.

A rule is judged by the condition around the line that refuses: there, another way was taken. If
nothing is around it but the function, another way out of the function was taken. Ways are the arcs
(line, next line) that coverage.py has seen; a negative number is the way out of what begins there.

A function that does nothing but refuse judges nothing: whoever calls it does (`only_refuses`), by a
condition around the call, or because the call goes to another function there, by a table. That
place is passed, too, when the call returns.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

Arc = tuple[int, int]


def has_passed(tree: ast.Module, line: int, arcs: Iterable[Arc], *, called: bool = False) -> bool:
    """Whether ``arcs`` pass by the refusal at ``line`` of ``tree``; see `passing`."""
    return bool(passing(tree, line, arcs, called=called))


def passing(tree: ast.Module, line: int, arcs: Iterable[Arc], *, called: bool = False) -> set[Arc]:
    """Those of ``arcs`` that pass by the refusal at ``line`` of ``tree``.

    ``called``: a function that does nothing but refuse is called there.
    """
    known = set(arcs)
    return _beside(tree, line, known) | (_beyond(tree, line, known) if called else set())


def only_refuses(tree: ast.Module, line: int, refuser: str) -> bool:
    """Whether the function around ``line`` does nothing but call ``refuser`` there."""
    function = next(
        (node for node in _around(tree, line) if isinstance(node, _FUNCTIONS)), ast.Module([], [])
    )
    calls = [
        node
        for node in function.body
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and line in _lines([node])
        and ast.unparse(node.value.func).rpartition(".")[2] == refuser
    ]
    return bool(calls) and not any(isinstance(node, _WAYS) for node in function.body)


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_WAYS = (ast.If, ast.For, ast.While, ast.Try, ast.With, ast.Match, ast.Return)
"""Statements with which a function may end otherwise."""


def _beyond(tree: ast.Module, line: int, arcs: set[Arc]) -> set[Arc]:
    """The ways from what is executed at ``line`` to whatever is next."""
    node = _around(tree, line)[0]
    heads = [getattr(node, name) for name in ("test", "iter", "subject") if hasattr(node, name)]
    here = _lines(heads or getattr(node, "items", None) or [node])
    return {(a, b) for a, b in arcs if a in here and b not in here}


def _beside(tree: ast.Module, line: int, arcs: set[Arc]) -> set[Arc]:
    """The ways by the conditions around ``line``."""
    for node in _around(tree, line):
        if isinstance(node, ast.If | ast.While):
            arm = _lines(node.body) if line in _lines(node.body) else _lines(node.orelse)
            judged = _lines([node.test])
        elif isinstance(node, ast.Try) and line not in _lines(node.body):
            arm, judged = _lines(node.handlers), _lines(node.body)
        elif isinstance(node, _FUNCTIONS):
            judged = _lines(node.body) - _statement(node, line)
            return {(a, b) for a, b in arcs if a in judged and b < 0}
        else:
            continue
        return {(a, b) for a, b in arcs if a in judged and b not in judged and b not in arm}
    return set()


def _around(tree: ast.Module, line: int) -> list[ast.stmt]:
    """The statements around ``line``, from the innermost on."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    return [node for node in reversed(found) if line in _lines([node])]


def _statement(function: ast.FunctionDef | ast.AsyncFunctionDef, line: int) -> set[int]:
    """The lines of the statement of ``function`` that refuses."""
    around = (node for node in function.body if line in _lines([node]))
    return _lines(around)


def _lines(nodes: Iterable[ast.AST]) -> set[int]:
    found: set[int] = set()
    for node in nodes:
        first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
        found.update(range(first, last + 1))
    return found
