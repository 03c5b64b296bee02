"""A fault: a bug that somebody's firmware has had, as a change to ours that can be switched on.

A fault is a few edits: a line of one of our functions as it was wrong in theirs, or an entry of one
of our tables. Switching it on replaces the code object of the function, so that everybody who
calls the function has the fault, whatever table or name they find it by; switching it off puts the
former one back. While no fault is on nothing of this is there: no call pays for it.

A fault holds for the whole process, and for all systems in it.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from ffabric.lab.faults.stage import Stage


class FaultError(RuntimeError):
    """A fault cannot be switched on: what it edits has changed, or another one edits it, too."""


def source_of(function: FunctionType) -> str:
    """The source of a function, or of a method, without indentation."""
    return textwrap.dedent(inspect.getsource(function))


def compiled(function: FunctionType, tree: ast.Module) -> CodeType:
    """The code of ``function`` as ``tree`` has it. Raises FaultError for an inner function."""
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    module = compile(tree, function.__code__.co_filename, "exec", dont_inherit=True)
    for each in module.co_consts:
        if isinstance(each, CodeType) and each.co_name == function.__name__:
            if each.co_freevars == function.__code__.co_freevars:
                return each
            break
    raise FaultError(f"{function.__module__}.{function.__qualname__} is inside another function")


class Change(Protocol):
    """A part of a fault."""

    def made(self) -> Callable[[], None]:
        """Make the change; what is returned takes it back. Raises FaultError."""


class Edit:
    """The text ``was`` of a function, which it has once, becomes ``becomes``; so do ``more`` pairs.

    Lines of ``becomes`` after the first are indented as far as the line of ``was``.
    """

    _changed: ClassVar[set[FunctionType]] = set()
    """Functions that a fault has changed."""

    def __init__(self, function: Any, was: str, becomes: str, *more: tuple[str, str]) -> None:
        self.function = function
        self.texts = ((was, becomes), *more)

    def target(self) -> FunctionType:
        """The function itself, behind what wraps it."""
        found: Any = inspect.unwrap(self.function)
        if isinstance(found, property):
            found = found.fget
        assert isinstance(found, FunctionType)
        return found

    def code(self) -> CodeType:
        """The code of the function with the edit. Raises FaultError if the text is not there."""
        source = source_of(self.target())
        for was, becomes in self.texts:
            times = source.count(was)
            if times != 1:
                raise FaultError(f"{self._name} has {was!r} {times} times, not once")
            line = source[: source.index(was)].rpartition("\n")[2]
            indent = " " * (len(line) - len(line.lstrip()))
            source = source.replace(was, becomes.replace("\n", f"\n{indent}"))
        try:
            return compiled(self.target(), ast.parse(source))
        except SyntaxError as error:
            raise FaultError(f"{self._name} cannot be edited so: {error.msg}") from None

    @property
    def _name(self) -> str:
        return f"{self.target().__module__}.{self.target().__qualname__}"

    def __str__(self) -> str:
        texts = [(" ".join(was.split()), " ".join(becomes.split())) for was, becomes in self.texts]
        return f"{self._name}: " + "; ".join(f"{was!r} -> {becomes!r}" for was, becomes in texts)

    def made(self) -> Callable[[], None]:
        """Give the function its faulty code."""
        function, code = self.target(), self.code()
        if function in self._changed:
            raise FaultError(f"{self._name} has a fault already")
        former, function.__code__ = function.__code__, code
        self._changed.add(function)
        self._forget_results()

        def take_back() -> None:
            function.__code__ = former
            self._changed.discard(function)
            self._forget_results()

        return take_back

    def _forget_results(self) -> None:
        forget = getattr(self.function, "cache_clear", None)
        if forget is not None:
            forget()


class Entry:
    """The entry ``key`` of a table, or the attribute of that name of anything else."""

    def __init__(self, table: Any, key: Any, value: object) -> None:
        self.table = table
        self.key = key
        self.value = value

    def __str__(self) -> str:
        table = getattr(self.table, "__name__", type(self.table).__name__)
        return f"{table}[{self.key!r}]: {self.value!r}"

    def made(self) -> Callable[[], None]:
        """Write the faulty entry."""
        table, key = self.table, self.key
        if isinstance(table, MutableMapping):
            former = table[key]
            table[key] = self.value
            return lambda: table.__setitem__(key, former)
        former = getattr(table, key)
        setattr(table, key, self.value)
        return lambda: setattr(table, key, former)


class Fault:
    """A bug, where it was found, and the scenario that kills it.

    ``module`` is where it is described: the first line of its docstring says what goes wrong.
    ``scenario`` makes calls that our firmware answers as the specification says. It raises if it is
    run while the fault is on.
    """

    def __init__(
        self,
        module: str,
        source: str,
        scenario: Callable[[Stage], None],
        *changes: Change,
    ) -> None:
        *_, folder, self.name = module.split(".")
        self.class_ = folder[0].upper()
        """The letter of its class in the catalogue of faults: A to P."""
        self.text = (sys.modules[module].__doc__ or "").strip()
        self.source = source
        self.scenario = scenario
        self.changes = changes

    @property
    def title(self) -> str:
        """What goes wrong, in a sentence."""
        return self.text.partition("\n\n")[0].replace("\n", " ")

    @property
    def functions(self) -> list[FunctionType]:
        """The functions that it edits; none for a fault of tables alone."""
        return [each.target() for each in self.changes if isinstance(each, Edit)]

    @property
    def places(self) -> list[str]:
        """Where it changes our firmware: each function with what it has and gets, each entry."""
        return [str(change) for change in self.changes]

    @contextmanager
    def on(self) -> Iterator[None]:
        """Our firmware has the bug in the block. Raises FaultError if it cannot be switched on."""
        with ExitStack() as stack:
            for change in self.changes:
                stack.callback(change.made())
            yield

    def __repr__(self) -> str:
        return f"<Fault {self.name} (class {self.class_}, {self.source}): {self.title}>"
