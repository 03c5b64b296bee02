"""States of a stage that is played on from again and again: taken, told apart, and gone back to.

A snapshot is the graph of objects as bytes, and the pages of memory that hold something. What never
changes (descriptions, call tables, code) and what there is once (memory itself) is not in it: all
states of one stage share it. Two snapshots with one key are one state: their bytes are the same, so
whatever is played on from them goes alike. Equal states may have different keys, if they came about
differently (the order of a dictionary, which of two equal strings is meant); that costs time only.
"""

from __future__ import annotations

import gc
import io
import pickle
import struct
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from copyreg import __newobj__  # type: ignore[attr-defined]
from enum import Enum
from hashlib import blake2b
from mmap import mmap
from random import Random
from types import BuiltinFunctionType, FunctionType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from uuid import UUID

import msgspec

from ffabric.abi.words import PAGE
from ffabric.firmware.state.interface.call_table import CallTable, Entries
from ffabric.firmware.state.mailbox import Buffer
from ffabric.firmware.state.region import Kind
from ffabric.firmware.state.rules import Refused, Rule
from ffabric.machine.memory import Bank
from ffabric.system.crash import PartitionCrashed

if TYPE_CHECKING:
    from ffabric.machine.memory import PhysicalMemory

_PROTOCOL = 3
"""The last one in which a reference to a shared object says its number."""
_DEPTH = 20_000
_NUMBERS = struct.Struct("<625I")
"""The state of `random.Random`."""
_ZEROS = bytes(PAGE)
_SHARED = (
    Bank,
    CallTable,
    Entries,
    Enum,
    Kind,
    MappingProxyType,
    ModuleType,
    Rule,
    UUID,
    mmap,
    type,
)
"""Kinds of objects of which no state has its own."""

Pages = dict[tuple[int, int], tuple[bytes, bytes]]
"""(number of the bank, offset) -> a page that is not all zeros, and its hash."""


_NO_DATA = (pickle.PicklingError, TypeError, AttributeError)
"""What `pickle` raises of a generator, a lock, a function within another."""


class NoSnapshot(Exception):  # noqa: N818 - a state of its own, nothing wrong
    """There is more than data, the rest of a generator for instance."""


class Snapshot(NamedTuple):
    """A state: `key` tells it from others."""

    key: bytes
    graph: bytes
    pages: Pages


class Snapshots:
    """Takes and restores states of what one object refers to, whose memory is ``memory``.

    All states have the ``shared`` objects, which must not decide how anything goes on.
    """

    def __init__(self, memory: PhysicalMemory, shared: Iterable[object] = ()) -> None:
        self._banks = [*memory.banks]
        self._pages: Pages = {}
        self._shared: list[object] = []
        self._numbers: dict[int, tuple[int, object]] = {}
        self._known = pickle.Pickler(io.BytesIO(), _PROTOCOL)
        self._found = _Known(io.BytesIO(b"N."), self._shared)
        for each in shared:
            self._share(each)

    def take(self, root: object) -> Snapshot:
        """The state of ``root`` and of memory now; NoSnapshot if there is more than data."""
        try:
            graph = self._dump(root)
        except _NO_DATA:
            try:
                self._discover(root)  # something new that is shared
                graph = self._dump(root)
            except _NO_DATA as error:
                raise NoSnapshot(str(error)) from error
        self._pages = self._look()
        key = blake2b(graph, digest_size=16)
        for at, (_, digest) in self._pages.items():
            key.update(b"%d %d" % at + digest)
        return Snapshot(key.digest(), graph, self._pages)

    def restore(self, snapshot: Snapshot) -> Any:
        """Bring memory to what it was; the root, in new objects."""
        now = self._look()
        for at in now.keys() - snapshot.pages.keys():
            self._write(at, _ZEROS)
        for at, page in snapshot.pages.items():
            if now.get(at) is not page:
                self._write(at, page[0])
        self._pages = snapshot.pages
        stream = io.BytesIO(snapshot.graph)
        reader = io.BufferedReader(stream, len(snapshot.graph))
        unpickler = pickle.Unpickler(reader)  # noqa: S301 - what this process has written
        unpickler.memo = self._found.memo
        return unpickler.load()

    def _dump(self, root: object) -> bytes:
        stream = io.BytesIO()
        pickler = pickle.Pickler(stream, _PROTOCOL)
        pickler.dispatch_table = _TABLE
        pickler.memo = self._known.memo
        with _deeply():
            pickler.dump(root)
        return stream.getvalue()

    def _discover(self, root: object) -> None:
        """Find what is shared, and number it; what has a number keeps it."""
        with _deeply():
            _Discovery(self._share, self._numbers).dump(root)
        self._known = pickle.Pickler(io.BytesIO(), _PROTOCOL)
        self._known.memo = self._numbers
        self._found = _Known(io.BytesIO(_numbering(len(self._shared))), self._shared)
        self._found.load()

    def _share(self, found: object) -> None:
        if id(found) not in self._numbers:
            self._numbers[id(found)] = len(self._shared), found
            self._shared.append(found)

    def _look(self) -> Pages:
        """The pages that are not all zeros; those that have not changed are the former objects."""
        former, found = self._pages, Pages()
        for number, bank in enumerate(self._banks):
            for start, end in bank.written():
                data = bank.mapping[start:end]
                for at in range(0, end - start, PAGE):
                    page = data[at : at + PAGE]
                    if page == _ZEROS:
                        continue
                    key = number, start + at
                    known = former.get(key)
                    if known is None or known[0] != page:
                        known = page, blake2b(page, digest_size=16).digest()
                    found[key] = known
        return found

    def _write(self, at: tuple[int, int], page: bytes) -> None:
        number, offset = at
        self._banks[number].mapping[offset : offset + PAGE] = page


class _Discovery(pickle.Pickler):
    """Tells of all that is shared."""

    def __init__(self, share: Callable[[object], None], numbers: Container[int]) -> None:
        super().__init__(io.BytesIO(), _PROTOCOL)
        self.dispatch_table = _TABLE
        self._share = share
        self._numbers = numbers

    def persistent_id(self, found: object) -> int | None:
        if id(found) in self._numbers or _is_shared(found):
            self._share(found)
            return 0
        return None


def _is_shared(found: object) -> bool:
    """Whether an object is of a kind of which no state has its own."""
    if isinstance(found, msgspec.Struct):
        return found.__struct_config__.frozen
    if isinstance(found, FunctionType):
        return found.__closure__ is None
    if isinstance(found, BuiltinFunctionType):
        return isinstance(found.__self__, ModuleType)
    if isinstance(found, memoryview):
        return isinstance(found.obj, mmap)
    return type(found) is object or isinstance(found, _SHARED)


class _Known(pickle.Unpickler):
    """Numbers the shared objects, as the stream of `_numbering` says."""

    def __init__(self, stream: io.BytesIO, shared: list[object]) -> None:
        super().__init__(stream)
        self._shared = shared

    def persistent_load(self, number: int) -> object:
        return self._shared[number]


def _numbering(count: int) -> bytes:
    """A pickle that loads each shared object, remembers it by its number, and drops it."""
    each = struct.Struct("<ciccic")
    parts = [each.pack(b"J", n, b"Q", b"r", n, b"0") for n in range(count)]
    return b"\x80\x03" + b"".join(parts) + b"N."


def _buffer(buffer: Buffer) -> tuple[type[Buffer], tuple[object, ...]]:
    """A buffer views memory, which there is once."""
    return Buffer, (buffer.ipa, buffer.pieces)


def _exception(error: Exception) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Without the place where it was raised, and without its constructor, whatever that takes."""
    return __newobj__, (type(error), *error.args), vars(error)


def _random(random: Random) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Its numbers as bytes: there are hundreds, and they seldom change."""
    version, numbers, gauss = random.getstate()
    return _random_of, (version, _NUMBERS.pack(*numbers), gauss)


def _random_of(version: int, numbers: bytes, gauss: float | None) -> Random:
    random = Random(0)  # noqa: S311 - reproducible
    random.setstate((version, _NUMBERS.unpack(numbers), gauss))
    return random


def _uuid(uuid: UUID) -> tuple[type[UUID], tuple[None, bytes]]:
    """One that has come since the others were numbered."""
    return UUID, (None, uuid.bytes)


def _unknown(found: object) -> NoReturn:
    """One of a kind that is compared by identity."""
    raise pickle.PicklingError(f"{found!r} has no number yet")


_TABLE: dict[type, Callable[[Any], Any]] = {
    **dict.fromkeys((Bank, CallTable, Entries, Kind, Rule, object), _unknown),
    Buffer: _buffer,
    PartitionCrashed: _exception,
    Random: _random,
    Refused: _exception,
    UUID: _uuid,
}


@contextmanager
def uncollected() -> Iterator[None]:
    """Let nobody look for garbage but with `collect`: only former states are, and they are young.

    To look for some all the time while objects come takes as long as to load a state.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def collect() -> None:
    """Free a former state: what nobody refers to of what has come since a few calls."""
    gc.collect(1)


@contextmanager
def _deeply() -> Iterator[None]:
    """A graph is deeper than calls of functions should be."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEPTH))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
