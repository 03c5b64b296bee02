"""A tree of files in memory, as a file system device serves it.

Names and contents are those of a folder at most; links are not followed, special files not there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from ffabric.abi.virtio import fuse as abi

MAX_NAME: Final = 255
MAX_NODES: Final = 1 << 16
MAX_BYTES: Final = 1 << 28
"""Of all files together."""


class FsError(Exception):
    """What a request fails with: an error number of Linux."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


class Node(Struct):
    """A file, a folder or a symbolic link."""

    id: int
    mode: int
    data: bytearray
    """Content of a file, target of a link."""
    children: dict[bytes, int]
    """By name, of a folder."""
    links: int = 1
    opened: int = 0
    """How often it is open: a file without a name stays as long as that."""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)


class Tree:
    """Nodes by id; the first one is the root folder."""

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {
            abi.ROOT: Node(abi.ROOT, stat.S_IFDIR | 0o755, bytearray(), {}, links=2)
        }
        self.bytes: int = 0
        self._next = abi.ROOT + 1

    def get(self, number: int) -> Node:
        """A node. FsError if there is none."""
        try:
            return self.nodes[number]
        except KeyError:
            raise FsError(errno.ESTALE) from None

    def folder(self, number: int) -> Node:
        """A node that is a folder. FsError if it is not."""
        node = self.get(number)
        if not node.is_folder:
            raise FsError(errno.ENOTDIR)
        return node

    def file(self, number: int) -> Node:
        """A node that is a file. FsError if it is not."""
        node = self.get(number)
        if not stat.S_ISREG(node.mode):
            raise FsError(errno.EISDIR if node.is_folder else errno.EINVAL)
        return node

    def lookup(self, parent: int, name: bytes) -> Node:
        """What a folder has under a name. FsError if there is none."""
        folder = self.folder(parent)
        if len(name) > MAX_NAME:
            raise FsError(errno.ENAMETOOLONG)
        if name not in folder.children:
            raise FsError(errno.ENOENT)
        return self.nodes[folder.children[name]]

    def create(self, parent: int, name: bytes, mode: int, data: bytes = b"") -> Node:
        """A new node in a folder. FsError if the name is there, or is none, or there is no room."""
        folder = self.folder(parent)
        if len(name) > MAX_NAME:
            raise FsError(errno.ENAMETOOLONG)
        if not name or b"/" in name or name in (b".", b".."):
            raise FsError(errno.EINVAL)
        if name in folder.children:
            raise FsError(errno.EEXIST)
        if len(self.nodes) >= MAX_NODES:
            raise FsError(errno.ENOSPC)
        self._account(len(data))
        node = Node(self._next, mode, bytearray(data), {}, links=1 + stat.S_ISDIR(mode))
        self.nodes[node.id] = node
        self._next += 1
        folder.children[name] = node.id
        folder.links += node.is_folder
        return node

    def write(self, node: Node, offset: int, data: bytes) -> None:
        """Write a part of a file, which grows if it must. FsError if there is no room."""
        self.resize(node, max(len(node.data), offset + len(data)))
        node.data[offset : offset + len(data)] = data

    def resize(self, node: Node, size: int) -> None:
        """Cut a file off, or let it grow by zeros. FsError if there is no room."""
        self._account(size - len(node.data))
        if size < len(node.data):
            del node.data[size:]
        else:
            node.data.extend(bytes(size - len(node.data)))

    def _account(self, more: int) -> None:
        if self.bytes + more > MAX_BYTES:
            raise FsError(errno.ENOSPC)
        self.bytes += more

    def remove(self, parent: int, name: bytes, *, folder: bool) -> None:
        """Remove a name: of a ``folder``, which is empty, or of anything else. FsError if not."""
        node = self.lookup(parent, name)
        if node.is_folder and not folder:
            raise FsError(errno.EISDIR)
        if folder and not node.is_folder:
            raise FsError(errno.ENOTDIR)
        if node.children:
            raise FsError(errno.ENOTEMPTY)
        above = self.nodes[parent]
        del above.children[name]
        above.links -= node.is_folder
        node.links = 0 if node.is_folder else node.links - 1
        self.forget(node)

    def forget(self, node: Node) -> None:
        """A node that has no name and is not open is gone."""
        if not node.links and not node.opened and self.nodes.pop(node.id, None) is not None:
            self.bytes -= len(node.data)

    def rename(self, parent: int, name: bytes, to: int, new: bytes) -> None:
        """Move a node, over one that may be replaced. FsError if not."""
        node, target = self.lookup(parent, name), self.folder(to)
        if not new or len(new) > MAX_NAME or b"/" in new or new in (b".", b".."):
            raise FsError(errno.EINVAL)
        if node.is_folder and self._is_below(to, node):
            raise FsError(errno.EINVAL)
        there = target.children.get(new)
        if there == node.id:
            return
        if there is not None:
            if self.nodes[there].is_folder and not node.is_folder:
                raise FsError(errno.EISDIR)
            self.remove(to, new, folder=node.is_folder)
        source = self.nodes[parent]
        del source.children[name]
        source.links -= node.is_folder
        target.children[new] = node.id
        target.links += node.is_folder

    def _is_below(self, number: int, folder: Node) -> bool:
        """Whether a node is a folder, or in it."""
        waiting = [folder.id]
        while waiting:
            each = waiting.pop()
            if each == number:
                return True
            waiting += self.nodes[each].children.values()
        return False

    def files(self) -> dict[str, bytes]:
        """The content of all files, by path."""
        return {path: bytes(node.data) for path, node in self._walk() if stat.S_ISREG(node.mode)}

    def _walk(self) -> Iterator[tuple[str, Node]]:
        waiting = [("", self.nodes[abi.ROOT])]
        while waiting:
            path, node = waiting.pop()
            yield path, node
            for name, number in node.children.items():
                text = name.decode("utf-8", "surrogateescape")
                waiting.append((f"{path}/{text}" if path else text, self.nodes[number]))


def read_folder(folder: Path) -> Tree:
    """What is in a folder of the host, as it is now.

    OSError if it cannot be read, FsError if there is too much of it.
    """
    tree = Tree()
    waiting = [(folder, abi.ROOT)]
    while waiting:
        path, parent = waiting.pop()
        for entry in sorted(os.scandir(path), key=lambda each: each.name):
            name, mode = os.fsencode(entry.name), entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                tree.create(parent, name, mode, os.fsencode(os.readlink(entry.path)))
            elif stat.S_ISREG(mode):
                tree.create(parent, name, mode, Path(entry.path).read_bytes())
            elif stat.S_ISDIR(mode):
                waiting.append((Path(entry.path), tree.create(parent, name, mode).id))
    return tree
