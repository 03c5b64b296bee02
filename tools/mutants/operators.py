"""What is changed: cosmic-ray's operators that make plausible mistakes, and two of our own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator
from parso.python.tree import ExprStmt, Keyword, KeywordStatement, PythonNode

Span = tuple[tuple[int, int], tuple[int, int]]
"""((line, column) of the first character, the same behind the last); lines from 1."""

_FROM_COSMIC_RAY = (
    *(
        f"ReplaceComparisonOperator_{change}"
        for change in (
            *("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Lt_Gt", "Gt_Lt"),
            *("LtE_GtE", "GtE_LtE", "Is_IsNot", "IsNot_Is"),
        )
    ),
    *(
        f"ReplaceBinaryOperator_{change}"
        for change in (
            *("Add_Sub", "Sub_Add", "Mul_FloorDiv", "FloorDiv_Mul", "Mod_FloorDiv"),
            *("BitAnd_BitOr", "BitOr_BitAnd", "BitXor_BitOr", "LShift_RShift", "RShift_LShift"),
        )
    ),
    *("ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_Delete_Invert"),
    *("ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("AddNot", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop"),
    "NumberReplacer",
)


class RemoveStatement(Operator):
    """A statement that only has an effect is left out: a call, an assignment, a `raise`."""

    def mutation_positions(self, node: Any) -> Iterator[Span]:
        """The node itself, if it is such a statement."""
        if _is_statement(node) and (
            isinstance(node, ExprStmt)
            or _is_call(node)
            or (isinstance(node, KeywordStatement) and node.type in ("raise_stmt", "del_stmt"))
        ):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """``pass`` in its place."""
        return Keyword("pass", node.start_pos, prefix=node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> list[Any]:
        """For cosmic-ray's own tests."""
        return []


class ReturnNothing(Operator):
    """A function returns None instead of what it has found out."""

    def mutation_positions(self, node: Any) -> Iterator[Span]:
        """The node itself, if it is a ``return`` with something."""
        if node.type == "return_stmt" and node.children[1].get_code().strip() != "None":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """``return`` alone."""
        return Keyword("return", node.start_pos, prefix=node.get_first_leaf().prefix)

    @classmethod
    def examples(cls) -> list[Any]:
        """For cosmic-ray's own tests."""
        return []


def _is_statement(node: Any) -> bool:
    return node.parent is not None and node.parent.type == "simple_stmt"


def _is_call(node: Any) -> bool:
    """A call, awaited or not, whose value nobody takes."""
    if not isinstance(node, PythonNode) or node.type not in ("atom_expr", "power"):
        return False
    last = node.children[-1]
    return bool(last.type == "trailer" and last.children[0] == "(")


def operators() -> list[Any]:
    """All of them."""
    found = [get_operator(f"core/{name}")() for name in _FROM_COSMIC_RAY]
    return [*found, RemoveStatement(), ReturnNothing()]
