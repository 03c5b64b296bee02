"""Flattened devicetree blobs: bytes <-> `Tree`.

Source: Devicetree Specification v0.4, chapter 5 (Flattened Devicetree (DTB) Format). A blob is
four blocks: a header of ten big-endian words, the memory reservations, the structure block (a
stream of tokens) and the strings block (property names). Version 17 is written; versions 16 and
17 are read.

Parsing takes hostile bytes: every offset, count and name is checked against the block that holds
it, nothing recurses, and the only exception is `DecodeError`. What the format leaves open but a
devicetree cannot mean (two properties or two children of one name) is refused too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache

import msgspec

from ffabric.abi.errors import DecodeError

MAGIC = 0xD00DFEED
VERSION = 17
LAST_COMPATIBLE_VERSION = 16
MAX_DEPTH = 64
"""How deep nodes may be nested."""

_SHOWN = 63
"""Longer texts are not quoted in messages."""

_HEADER = struct.Struct(">10I")
_RESERVATION = struct.Struct(">QQ")
_WORD = struct.Struct(">I")
_PROPERTY = struct.Struct(">II")

_TOKEN_AND_PROPERTY = struct.Struct(">III")

_BEGIN_NODE, _END_NODE, _PROP, _NOP, _END = 1, 2, 3, 4, 9
_BEGIN_OF_NODE, _END_OF_NODE = _WORD.pack(_BEGIN_NODE), _WORD.pack(_END_NODE)
_PADDING = tuple(bytes(count) for count in range(4))
_NAME_BYTES = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ,._+-?#@")


class Node(msgspec.Struct):
    """One node: its name (with the unit address), its properties' raw bytes, its children."""

    name: str = ""
    props: dict[str, bytes] = {}
    children: list[Node] = []

    def child(self, name: str) -> Node | None:
        """The child of that name, or None."""
        return next((node for node in self.children if node.name == name), None)

    def walk(self, path: str = "/") -> Iterator[tuple[str, Node]]:
        """Yield (path, node) for this node and everything below it, in document order."""
        stack = [(path, self)]
        while stack:
            here, node = stack.pop()
            yield here, node
            stack.extend((join(here, below.name), below) for below in reversed(node.children))

    def u32(self, name: str) -> int:
        """A property of one 32-bit cell. Raises DecodeError unless it is exactly 4 bytes."""
        return self._number(name, 4)

    def u64(self, name: str) -> int:
        """A property of one or two cells, two read as a 64-bit number."""
        return self._number(name, 4, 8)

    def cells(self, name: str) -> tuple[int, ...]:
        """A property of any number of 32-bit cells."""
        data = self._bytes(name)
        if len(data) % 4:
            raise DecodeError(name, None, data, f"{_shown(data)} are not 32-bit cells")
        return struct.unpack(f">{len(data) // 4}I", data)

    def strings(self, name: str) -> tuple[str, ...]:
        """A property of one or more nul-terminated UTF-8 strings."""
        data = self._bytes(name)
        if not data.endswith(b"\0"):
            hint = "" if len(data) % 4 else f"; these are {len(data) // 4} cells"
            raise DecodeError(name, None, data, f"a string must end in a nul byte{hint}")
        try:
            return tuple(data[:-1].decode().split("\0"))
        except UnicodeDecodeError:
            raise DecodeError(name, None, data, "a string must be UTF-8") from None

    def string(self, name: str) -> str:
        """A property of exactly one nul-terminated UTF-8 string."""
        values = self.strings(name)
        if len(values) != 1:
            raise DecodeError(name, None, values, f"{len(values)} strings where one is expected")
        return values[0]

    def _bytes(self, name: str) -> bytes:
        if name not in self.props:
            raise DecodeError(name, None, None, "the property is missing")
        return self.props[name]

    def _number(self, name: str, *sizes: int) -> int:
        data = self._bytes(name)
        if len(data) not in sizes:
            expected = " or ".join(f"{size}" for size in sizes)
            raise DecodeError(name, None, data, f"{_shown(data)} where {expected} are expected")
        return int.from_bytes(data, "big")


def _shown(data: bytes) -> str:
    """What a property is that should be cells: how many bytes, and the text if it is one."""
    text = data[:-1]
    if (
        not 0 < len(text) < _SHOWN
        or data[-1]
        or not text.isascii()
        or not text.decode().isprintable()
    ):
        return f"{len(data)} bytes"
    return f"{len(data)} bytes ({text.decode()!r}, a text)"


class Tree(msgspec.Struct):
    """A whole blob: the root node, memory reservations as (address, size), the boot CPU's id."""

    root: Node = msgspec.field(default_factory=Node)
    reservations: list[tuple[int, int]] = []
    boot_cpu: int = 0


def join(path: str, name: str) -> str:
    """The path of the child `name` of the node at `path`."""
    return f"{path.rstrip('/')}/{name}"


def parse_dtb(data: bytes) -> Tree:
    """Read a flattened devicetree.

    Raises DecodeError with the node's path and the byte offset of whatever is wrong.
    """
    if len(data) < _HEADER.size:
        raise DecodeError("header", 0, len(data), f"shorter than the {_HEADER.size}-byte header")
    magic, total, off_struct, off_strings, off_rsvmap, version, last, cpu, n_strings, n_struct = (
        _HEADER.unpack_from(data)
    )
    if magic != MAGIC:
        raise DecodeError("header.magic", 0, magic, f"not {MAGIC:#x}: not a flattened devicetree")
    if total < _HEADER.size or total > len(data):
        raise DecodeError("header.totalsize", 4, total, f"the blob has {len(data)} bytes")
    if version < LAST_COMPATIBLE_VERSION or last > VERSION:
        raise DecodeError("header.version", 20, version, "only versions 16 and 17 are known")
    if version == LAST_COMPATIBLE_VERSION:
        n_struct = total - min(off_struct, total)
    data = data[:total]
    if off_struct % 4:
        raise DecodeError("header.off_dt_struct", 8, off_struct, "not 4-byte aligned")
    for name, at, offset, size in (
        ("struct", 8, off_struct, n_struct),
        ("strings", 12, off_strings, n_strings),
    ):
        if offset < _HEADER.size or offset + size > total:
            raise DecodeError(f"header.off_dt_{name}", at, offset, "the block leaves the blob")
    strings = data[off_strings : off_strings + n_strings]
    reader = _Structure(data, off_struct, off_struct + n_struct, strings)
    return Tree(reader.read(), _reservations(data, off_rsvmap), cpu)


def _reservations(data: bytes, offset: int) -> list[tuple[int, int]]:
    if offset % 8 or offset < _HEADER.size:
        raise DecodeError("header.off_mem_rsvmap", 16, offset, "not 8-byte aligned in the blob")
    found: list[tuple[int, int]] = []
    while offset + _RESERVATION.size <= len(data):
        address, size = _RESERVATION.unpack_from(data, offset)
        if not address and not size:
            return found
        found.append((address, size))
        offset += _RESERVATION.size
    raise DecodeError("reservations", offset, len(found), "the list does not end")


class _Structure:
    """The structure block's tokens, read into nodes with an explicit stack."""

    def __init__(self, data: bytes, offset: int, end: int, strings: bytes) -> None:
        self.data, self.at, self.end, self.strings = data, offset, end, strings
        self.names: dict[int, str] = {}

    def read(self) -> Node:
        """The root node. Every token is looked at once."""
        path: list[str] = []
        stack: list[tuple[Node, set[str]]] = []
        root: Node | None = None
        while (token := self._word(path)) != _END:
            if token == _BEGIN_NODE:
                node = Node(self._node_name(path, root=not stack))
                if not stack and root is not None:
                    raise self._wrong(path, node.name, "a second root node")
                if len(stack) == MAX_DEPTH:
                    raise self._wrong(path, node.name, f"nested deeper than {MAX_DEPTH} nodes")
                if not stack:
                    root = node
                else:
                    parent, names = stack[-1]
                    if node.name in names:
                        raise self._wrong(path, node.name, "a second child of this name")
                    names.add(node.name)
                    parent.children.append(node)
                stack.append((node, set()))
                path.append(node.name)
            elif token == _END_NODE and stack:
                stack.pop()
                path.pop()
            elif token == _PROP and stack:
                self._property(path, stack[-1][0])
            elif token != _NOP:
                raise self._wrong(path, token, "not a token that can stand here")
        if stack or root is None:
            raise self._wrong(path, None, "the tree ends inside a node")
        return root

    def _wrong(self, path: list[str], value: object, reason: str) -> DecodeError:
        return DecodeError("/".join(path) or "/", self.at, value, reason)

    def _word(self, path: list[str]) -> int:
        if self.at + 4 > self.end:
            raise self._wrong(path, None, "the structure block ends without an end token")
        (word,) = _WORD.unpack_from(self.data, self.at)
        self.at += 4
        return int(word)

    def _node_name(self, path: list[str], *, root: bool) -> str:
        nul = self.data.find(b"\0", self.at, self.end)
        if nul < 0:
            raise self._wrong(path, None, "a node's name does not end")
        raw = self.data[self.at : nul]
        if (not raw) is not root or not _NAME_BYTES.issuperset(raw):
            raise self._wrong(path, raw, "not a node's name")
        self.at = (nul + 4) & ~3
        return raw.decode("ascii")

    def _property(self, path: list[str], node: Node) -> None:
        if self.at + _PROPERTY.size > self.end:
            raise self._wrong(path, None, "a property is cut off")
        size, offset = _PROPERTY.unpack_from(self.data, self.at)
        value = self.at + _PROPERTY.size
        if value + size > self.end:
            raise self._wrong(path, size, "a property's value leaves the structure block")
        name = self.names.get(offset) or self._property_name(path, offset)
        if name in node.props:
            raise self._wrong(path, name, "a second property of this name")
        if node.children:
            raise self._wrong(path, name, "a property after a child node")
        node.props[name] = self.data[value : value + size]
        self.at = (value + size + 3) & ~3

    def _property_name(self, path: list[str], offset: int) -> str:
        nul = self.strings.find(b"\0", offset)
        raw = self.strings[offset:nul]
        if offset >= len(self.strings) or nul < 0 or not raw or not _NAME_BYTES.issuperset(raw):
            raise self._wrong(path, offset, "not the offset of a property's name")
        self.names[offset] = name = raw.decode("ascii")
        return name


def cells(*values: int) -> bytes:
    """A property of 32-bit cells (Devicetree 0.4, 2.2.4: `prop-encoded-array` of u32)."""
    return b"".join(value.to_bytes(4, "big") for value in values)


def wide(*values: int) -> bytes:
    """A property of 64-bit numbers, of two cells each, such as addresses and sizes."""
    return b"".join(value.to_bytes(8, "big") for value in values)


def texts(*values: str) -> bytes:
    """A property of one string or several, each ended by a NUL (`stringlist`)."""
    return b"".join(value.encode() + b"\0" for value in values)


def is_name(text: str) -> bool:
    """Whether a node, other than the root, or a property can have this name."""
    return bool(text) and _NAME_BYTES.issuperset(text.encode())


def build_dtb(tree: Tree | Node) -> bytes:
    """Write a version 17 blob. Raises ValueError for a name or a value the format cannot hold."""
    if isinstance(tree, Node):
        tree = Tree(tree)
    offsets: dict[str, int] = {}
    strings = bytearray()
    chunks: list[bytes] = []
    stack: list[tuple[Node, bool]] = [(tree.root, True)]
    while stack:
        node, opening = stack.pop()
        if not opening:
            chunks.append(_END_OF_NODE)
            continue
        if (not node.name) is not (node is tree.root):
            raise ValueError(f"a node named {node.name!r}")
        name = _encode_name(node.name)
        chunks += (_BEGIN_OF_NODE, name, _PADDING[-len(name) & 3])
        for key, value in node.props.items():
            if not key:
                raise ValueError(f"a property without a name in node {node.name!r}")
            if key not in offsets:
                offsets[key] = len(strings)
                strings += _encode_name(key)
            head = _TOKEN_AND_PROPERTY.pack(_PROP, len(value), offsets[key])
            chunks += (head, value, _PADDING[-len(value) & 3])
        stack.append((node, False))
        stack.extend((child, True) for child in reversed(node.children))
    chunks.append(_WORD.pack(_END))
    body = b"".join(chunks)
    reservations = [*tree.reservations, (0, 0)]
    off_struct = _HEADER.size + _RESERVATION.size * len(reservations)
    off_strings = off_struct + len(body)
    header = _HEADER.pack(
        MAGIC,
        off_strings + len(strings),
        off_struct,
        off_strings,
        _HEADER.size,
        VERSION,
        LAST_COMPATIBLE_VERSION,
        tree.boot_cpu,
        len(strings),
        len(body),
    )
    return b"".join((header, *(_RESERVATION.pack(*entry) for entry in reservations), body, strings))


@lru_cache(1024)
def _encode_name(name: str) -> bytes:
    """A name with the zero byte that ends it."""
    raw = name.encode()
    if not _NAME_BYTES.issuperset(raw):
        raise ValueError(f"{name!r} holds characters that a devicetree name cannot")
    return raw + b"\0"
