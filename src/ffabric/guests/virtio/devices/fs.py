"""A file system in memory (virtio 1.3, 5.11), asked by FUSE requests.

What a driver asks is judged request by request: an unknown opcode is ENOSYS, a short one EINVAL, a
node that is gone ESTALE. Files are looked up by node id at each request: what a driver says of
files it has open decides only how long they stay when their names are gone.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Sequence
from typing import Any, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.layout import Record
from ffabric.abi.virtio import fuse as abi
from ffabric.abi.virtio import ids
from ffabric.abi.virtio.fuse import Op
from ffabric.abi.words import MASK32, PAGE
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.device_queue import Chain, DeviceQueue
from ffabric.guests.virtio.devices.fs_tree import (
    MAX_BYTES,
    MAX_NAME,
    MAX_NODES,
    FsError,
    Node,
    Tree,
)

MAX_TRANSFER: Final = 1 << 20
"""Bytes of a READ or WRITE."""
MAX_REQUEST: Final = MAX_TRANSFER + 2 * PAGE
_BLOCK = 512
_PERMISSIONS = 0o7777
_SECOND = 1
_Fields = dict[str, Any]


class FsDevice(Device):
    """The files of ``tree`` under the name ``tag``, by which a guest mounts them."""

    id = ids.FILE_SYSTEM
    queue_sizes: Sequence[int] = (64, 64)

    def __init__(self, tree: Tree | None = None, *, tag: str = "ffabric") -> None:
        super().__init__()
        if not 0 < len(tag.encode()) <= abi.TAG_SIZE:
            raise ValueError(f"a tag has 1 to {abi.TAG_SIZE} bytes, not {tag!r}")
        self.tree: Tree = tree or Tree()
        self.tag = tag
        self._started = False
        self._open: dict[int, Node] = {}
        """By file handle."""
        self._next_handle = 1

    @property
    def config(self) -> bytes:
        """The tag, and that there is one request queue."""
        return abi.CONFIG.at().pack(self.tag.encode(), 1)

    def stop(self) -> None:
        """The session is over, whatever was open."""
        self._started = False
        for handle in list(self._open):
            self._close(handle)

    def handle(self, queue: DeviceQueue, chain: Chain) -> int:
        """A request: header and arguments; header and answer."""
        request = queue.read(chain, most=MAX_REQUEST + 1)
        try:
            opcode, unique, node = _parse_header(request)
        except DecodeError:
            return 0
        if opcode in (Op.FORGET, Op.BATCH_FORGET):
            return 0  # nodes are not counted, and nothing is answered
        room = chain.writable_size - abi.OUT_HEADER.size
        if room < 0:
            return 0
        answer, error = b"", 0
        try:
            answer = self._serve(opcode, node, request[abi.IN_HEADER.size :])
        except FsError as failed:
            answer, error = b"", failed.number
        except DecodeError:
            answer, error = b"", errno.EINVAL
        if len(answer) > room:
            answer, error = b"", errno.ERANGE
        size = abi.OUT_HEADER.size + len(answer)
        return queue.write(chain, abi.OUT_HEADER.pack(size, -error & MASK32, unique) + answer)

    def _serve(self, opcode: int, node: int, body: bytes) -> bytes:
        serve = _SERVICES.get(opcode)
        if serve is None:
            raise FsError(errno.ENOSYS)
        if not self._started and opcode != Op.INIT:
            raise FsError(errno.EIO)
        record, service = serve
        if record is None:
            return service(self, node, {}, body)
        return service(self, node, record.read(body), body[record.size :])

    # The requests. Each gets the node, its arguments, and what follows those.

    def _init(self, _node: int, fields: _Fields, _rest: bytes) -> bytes:
        if fields["major"] != abi.MAJOR:
            raise FsError(errno.EPROTO)
        self._started = True
        minor = min(fields["minor"], abi.MINOR)
        readahead = min(fields["max_readahead"], MAX_TRANSFER)
        return abi.INIT_OUT.pack(abi.MAJOR, minor, readahead, 0, 16, 12, MAX_TRANSFER, 1, 0, 0)

    def _destroy(self, _node: int, _fields: _Fields, _rest: bytes) -> bytes:
        self.stop()
        return b""

    def _statfs(self, _node: int, _fields: _Fields, _rest: bytes) -> bytes:
        blocks, used = MAX_BYTES // PAGE, -(-self.tree.bytes // PAGE)
        nodes = len(self.tree.nodes)
        free = blocks - used
        return abi.STATFS_OUT.pack(
            blocks, free, free, MAX_NODES, MAX_NODES - nodes, PAGE, MAX_NAME, PAGE
        )

    def _lookup(self, node: int, _fields: _Fields, rest: bytes) -> bytes:
        return _entry(self.tree.lookup(node, _name(rest)))

    def _getattr(self, node: int, _fields: _Fields, _rest: bytes) -> bytes:
        return _attributes(self.tree.get(node))

    def _setattr(self, node: int, fields: _Fields, _rest: bytes) -> bytes:
        found = self.tree.get(node)
        if fields["valid"] & abi.SET_SIZE:
            self.tree.resize(self.tree.file(node), fields["size"])
        if fields["valid"] & abi.SET_MODE:
            found.mode = found.mode & ~_PERMISSIONS | fields["mode"] & _PERMISSIONS
        return _attributes(found)

    def _access(self, node: int, _fields: _Fields, _rest: bytes) -> bytes:
        self.tree.get(node)
        return b""

    def _readlink(self, node: int, _fields: _Fields, _rest: bytes) -> bytes:
        found = self.tree.get(node)
        if not stat.S_ISLNK(found.mode):
            raise FsError(errno.EINVAL)
        return bytes(found.data)

    def _symlink(self, node: int, _fields: _Fields, rest: bytes) -> bytes:
        name, target = _names(rest)
        return _entry(self.tree.create(node, name, stat.S_IFLNK | 0o777, target))

    def _mkdir(self, node: int, fields: _Fields, rest: bytes) -> bytes:
        mode = stat.S_IFDIR | fields["mode"] & ~fields["umask"] & _PERMISSIONS
        return _entry(self.tree.create(node, _name(rest), mode))

    def _unlink(self, node: int, _fields: _Fields, rest: bytes) -> bytes:
        self.tree.remove(node, _name(rest), folder=False)
        return b""

    def _rmdir(self, node: int, _fields: _Fields, rest: bytes) -> bytes:
        self.tree.remove(node, _name(rest), folder=True)
        return b""

    def _rename(self, node: int, fields: _Fields, rest: bytes) -> bytes:
        if fields.get("flags"):
            raise FsError(errno.EINVAL)
        name, new = _names(rest)
        self.tree.rename(node, name, fields["newdir"], new)
        return b""

    def _open_file(self, node: int, fields: _Fields, _rest: bytes) -> bytes:
        found = self.tree.file(node)
        if fields["flags"] & abi.OPEN_TRUNCATE:
            self.tree.resize(found, 0)
        return self._opened(found)

    def _open_folder(self, node: int, _fields: _Fields, _rest: bytes) -> bytes:
        return self._opened(self.tree.folder(node))

    def _create(self, node: int, fields: _Fields, rest: bytes) -> bytes:
        mode = stat.S_IFREG | fields["mode"] & ~fields["umask"] & _PERMISSIONS
        found = self.tree.create(node, _name(rest), mode)
        return _entry(found) + self._opened(found)

    def _opened(self, node: Node) -> bytes:
        if len(self._open) >= MAX_NODES:
            raise FsError(errno.ENFILE)
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        self._open[handle] = node
        node.opened += 1
        return abi.OPEN_OUT.pack(handle, 0)

    def _release(self, _node: int, fields: _Fields, _rest: bytes) -> bytes:
        self._close(fields["fh"])
        return b""

    def _close(self, handle: int) -> None:
        node = self._open.pop(handle, None)
        if node is not None:
            node.opened -= 1
            self.tree.forget(node)

    def _read(self, node: int, fields: _Fields, _rest: bytes) -> bytes:
        data, offset = self.tree.file(node).data, fields["offset"]
        return bytes(data[offset : offset + min(fields["size"], MAX_TRANSFER)])

    def _write(self, node: int, fields: _Fields, rest: bytes) -> bytes:
        size = fields["size"]
        if size > min(len(rest), MAX_TRANSFER):
            raise FsError(errno.EINVAL)
        self.tree.write(self.tree.file(node), fields["offset"], rest[:size])
        return abi.WRITE_OUT.pack(size)

    def _readdir(self, node: int, fields: _Fields, _rest: bytes) -> bytes:
        """Names from the offset on; an offset counts names."""
        answer = b""
        children = list(self.tree.folder(node).children.items())
        for at, (name, number) in enumerate(children[fields["offset"] :], fields["offset"] + 1):
            kind = stat.S_IFMT(self.tree.nodes[number].mode) >> 12
            entry = abi.DIRENT.pack(number, at, len(name), kind)
            entry += name.ljust(abi.pad(len(name)), b"\0")
            if len(answer) + len(entry) > min(fields["size"], MAX_TRANSFER):
                break
            answer += entry
        return answer

    def _nothing(self, _node: int, _fields: _Fields, _rest: bytes) -> bytes:
        """All is in memory: nothing has to be written anywhere."""
        return b""


def _parse_header(request: bytes) -> tuple[int, int, int]:
    """(opcode, number, node). Raises DecodeError."""
    length, opcode, unique, node, *_ = abi.IN_HEADER.unpack(request)
    if length != len(request) or length > MAX_REQUEST:
        reason = f"the request has {len(request)} bytes"
        raise DecodeError("fuse_in_header.len", 0, length, reason)
    return opcode, unique, node


def _name(data: bytes) -> bytes:
    name, end, _ = data.partition(b"\0")
    if not end:
        raise DecodeError("fuse name", None, len(data), "it does not end")
    return name


def _names(data: bytes) -> tuple[bytes, bytes]:
    first = _name(data)
    return first, _name(data[len(first) + 1 :])


def _attr(node: Node) -> bytes:
    size = len(node.data)
    times = (0,) * 6
    return abi.ATTR.pack(
        *(node.id, size, -(-size // _BLOCK), *times, node.mode, node.links, 0, 0, 0, PAGE, 0)
    )


def _entry(node: Node) -> bytes:
    return abi.ENTRY_OUT.pack(node.id, 0, _SECOND, _SECOND, 0, 0) + _attr(node)


def _attributes(node: Node) -> bytes:
    return abi.ATTR_OUT.pack(_SECOND, 0) + _attr(node)


_Service = Callable[[FsDevice, int, _Fields, bytes], bytes]
_SERVICES: Final[dict[int, tuple[Record | None, _Service]]] = {
    Op.INIT: (abi.INIT_IN, FsDevice._init),
    Op.DESTROY: (None, FsDevice._destroy),
    Op.STATFS: (None, FsDevice._statfs),
    Op.LOOKUP: (None, FsDevice._lookup),
    Op.GETATTR: (abi.GETATTR_IN, FsDevice._getattr),
    Op.SETATTR: (abi.SETATTR_IN, FsDevice._setattr),
    Op.ACCESS: (None, FsDevice._access),
    Op.READLINK: (None, FsDevice._readlink),
    Op.SYMLINK: (None, FsDevice._symlink),
    Op.MKDIR: (abi.MKDIR_IN, FsDevice._mkdir),
    Op.UNLINK: (None, FsDevice._unlink),
    Op.RMDIR: (None, FsDevice._rmdir),
    Op.RENAME: (abi.RENAME_IN, FsDevice._rename),
    Op.RENAME2: (abi.RENAME2_IN, FsDevice._rename),
    Op.OPEN: (abi.OPEN_IN, FsDevice._open_file),
    Op.OPENDIR: (abi.OPEN_IN, FsDevice._open_folder),
    Op.CREATE: (abi.CREATE_IN, FsDevice._create),
    Op.RELEASE: (abi.RELEASE_IN, FsDevice._release),
    Op.RELEASEDIR: (abi.RELEASE_IN, FsDevice._release),
    Op.READ: (abi.READ_IN, FsDevice._read),
    Op.WRITE: (abi.WRITE_IN, FsDevice._write),
    Op.READDIR: (abi.READ_IN, FsDevice._readdir),
    Op.FLUSH: (None, FsDevice._nothing),
    Op.FSYNC: (None, FsDevice._nothing),
    Op.FSYNCDIR: (None, FsDevice._nothing),
}
"""By opcode: the layout of its arguments, and who serves it."""
