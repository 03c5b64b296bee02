"""Whether a call has come to where a rule is judged, and has passed.

A rule is judged by the condition around the line that refuses: there, another way was taken. If
nothing is around it but the function, another way out of the function was taken. Ways are the arcs
(line, next line) that coverage.py has seen; a negative number is the way out of what begins there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

Arc = tuple[int, int]


def has_passed(tree: ast.Module, line: int, arcs: Iterable[Arc]) -> bool:
    """Whether ``arcs`` pass by the refusal at ``line`` of ``tree``."""
    return bool(passing(tree, line, arcs))


def passing(tree: ast.Module, line: int, arcs: Iterable[Arc]) -> set[Arc]:
    """Those of ``arcs`` that pass by the refusal at ``line`` of ``tree``."""
    for node in _around(tree, line):
        if isinstance(node, ast.If | ast.While):
            arm = _lines(node.body) if line in _lines(node.body) else _lines(node.orelse)
            judged = _lines([node.test])
        elif isinstance(node, ast.Try) and line not in _lines(node.body):
            arm, judged = _lines(node.handlers), _lines(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
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
