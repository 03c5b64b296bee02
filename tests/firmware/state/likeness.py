"""Whether two systems are in the same state, wherever in them it is kept."""

from collections import deque
from enum import Enum
from functools import cached_property, partial
from mmap import mmap
from random import Random
from types import FunctionType, MethodType

from ffabric.abi.words import PAGE
from ffabric.firmware.state.rules import Refused, Rule
from ffabric.machine.memory import Bank

ATOMS = (int, float, str, bytes, bytearray, type(None), type, Enum, range, FunctionType, Rule)
EMPTY = bytes(PAGE)
NOT_STATE = {"_fd", "listeners", "tracer", "keep", "_is_watched", "heard", "_attached"}
"""Fields that are of the host, or of who listens."""


def difference(first, second):
    """The path to the first thing that differs in `first` and `second`; None if they are alike."""
    todo = deque([("", first, second)])
    seen = set()
    while todo:
        path, a, b = todo.pop()
        if (id(a), id(b)) in seen:
            continue
        seen.add((id(a), id(b)))
        if type(a) is not type(b):
            return f"{path}: {a!r} and {b!r}"
        if isinstance(a, ATOMS) or (type(a).__module__ == "builtins" and not _parts(a)):
            if a != b:
                return f"{path}: {a!r} and {b!r}"
            continue
        mine, others = _parts(a), _parts(b)
        if mine.keys() != others.keys():
            return f"{path}: {[*mine]} and {[*others]}"
        todo.extend((f"{path}.{name}", mine[name], others[name]) for name in mine)
    return None


def _pages(bank):
    """The pages of a bank that are not empty, by their offset."""
    found = {}
    for start, end in bank.written():
        for at in range(start, end, PAGE):
            page = bank.mapping[at : at + PAGE]
            if page != EMPTY:
                found[at] = page
    return found


def _parts(each):
    """What something consists of, by name."""
    if isinstance(each, dict):
        keys = [key if isinstance(key, ATOMS) else n for n, key in enumerate(each)]
        return dict(zip(map(str, keys), each.values(), strict=True)) | {"keys": [*each]}
    if isinstance(each, (list, tuple, deque)):
        return {str(n): part for n, part in enumerate(each)}
    if isinstance(each, (set, frozenset)):
        return {"sorted": sorted(each, key=str)}
    if isinstance(each, MethodType):
        return {"self": each.__self__, "function": each.__func__}
    if isinstance(each, partial):
        return {"function": each.func, "args": each.args, "keywords": each.keywords}
    if isinstance(each, type(iter(range(0)))):
        return {"left": each.__length_hint__()}  # type: ignore[attr-defined]
    if isinstance(each, Random):
        return {"state": each.getstate()}
    if isinstance(each, Bank):
        return {"pages": _pages(each), "name": each.name, "base": each.base}
    if isinstance(each, Refused):
        return {"rule": each.rule, "got": each.got, "expected": each.expected}
    if isinstance(each, (memoryview, mmap)):
        return {"size": len(each)}  # of a bank, whose bytes are compared
    names = {*getattr(each, "__dict__", ()), *getattr(each, "__struct_fields__", ())}
    for kind in type(each).__mro__:
        names |= set(vars(kind).get("__slots__", ()))
        names -= {key for key, value in vars(kind).items() if isinstance(value, cached_property)}
    return {name: getattr(each, name) for name in sorted(names - NOT_STATE) if hasattr(each, name)}
