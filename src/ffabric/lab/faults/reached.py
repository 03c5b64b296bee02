"""Which faulty functions a test executes: one that executes none of them cannot notice the fault.

While it is looked at, each function that a fault edits begins with a note that it has been called.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType

from ffabric.lab.faults.fault import Fault, compiled, source_of

_NOTE = "__ffabric_reached__"


@contextmanager
def reached(faults: Iterable[Fault]) -> Iterator[set[FunctionType]]:
    """The functions of ``faults`` that are called in the block, as long as it lasts.

    No fault may be switched on in the block.
    """
    seen: set[FunctionType] = set()
    functions = dict.fromkeys(function for fault in faults for function in fault.functions)
    former = {function: function.__code__ for function in functions}
    try:
        for index, function in enumerate(functions):
            name = f"{_NOTE}{index}"
            tree = ast.parse(source_of(function))
            (definition,) = tree.body
            assert isinstance(definition, ast.FunctionDef)
            note = ast.parse(f"{name}()").body
            for node in ast.walk(note[0]):
                ast.copy_location(node, definition.body[0])
            at = 0 if ast.get_docstring(definition) is None else 1
            definition.body[at:at] = note
            function.__globals__[name] = _noting(seen, function)
            function.__code__ = compiled(function, tree)
        yield seen
    finally:
        for index, (function, code) in enumerate(former.items()):
            function.__code__ = code
            function.__globals__.pop(f"{_NOTE}{index}", None)


def _noting(seen: set[FunctionType], function: FunctionType) -> object:
    return lambda: seen.add(function)
