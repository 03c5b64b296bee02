"""tee-supplicant in Python: the TAs and the secure storage's files that OP-TEE asks for, in memory.

A driver hands it the RPCs that it does not serve itself:

    tee.state.supplicant = Supplicant(tas={uuid: Path("....ta").read_bytes()})

Other commands are served by a subclass that adds them to `COMMANDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar
from uuid import UUID

from msgspec.structs import replace

from ffabric.abi.ffa.uuids import as_uuid
from ffabric.abi.optee.message import NO_HANDLE, Fmem, Param, Value, words_uuid
from ffabric.abi.optee.rpc import Command, Fs
from ffabric.abi.optee.tee import Origin, Result
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.normal_world.shm import Shm


class Request:
    """An RPC: its parameters, and the memory that they refer to."""

    def __init__(self, params: list[Param], memory: Mapping[int, Shm]) -> None:
        self.params = params
        self._memory = memory

    def value(self, index: int) -> Value:
        """A parameter that is a value."""
        param = self.params[index] if index < len(self.params) else None
        if not isinstance(param, Value):
            raise _error(Result.BAD_PARAMETERS)
        return param

    def set(self, index: int, a: int) -> None:
        """Answer with the first word of a value."""
        self.params[index] = replace(self.value(index), a=a)

    def _memref(self, index: int) -> Fmem:
        param = self.params[index] if index < len(self.params) else None
        if not isinstance(param, Fmem):
            raise _error(Result.BAD_PARAMETERS)
        return param

    def _shm(self, param: Fmem) -> Shm:
        shm = self._memory.get(param.handle)
        if shm is None or param.offset + param.size > shm.size:
            raise _error(Result.BAD_PARAMETERS)
        return shm

    def size(self, index: int) -> int:
        """The bytes of a parameter that is memory; none if it refers to no memory."""
        param = self._memref(index)
        return 0 if param.handle == NO_HANDLE else param.size

    def read(self, index: int) -> bytes:
        """What is in memory."""
        param = self._memref(index)
        return self._shm(param).read(param.size, param.offset) if self.size(index) else b""

    def text(self, index: int) -> str:
        """A string that ends with a NUL."""
        return self.read(index).partition(b"\0")[0].decode("utf-8", "backslashreplace")

    def write(self, index: int, data: bytes) -> None:
        """Answer with `data`, or with its size alone if it does not fit."""
        param = self._memref(index)
        if data and len(data) <= self.size(index):
            self._shm(param).write(data, param.offset)
        self.params[index] = replace(param, size=len(data))


class Supplicant:
    """tee-supplicant: serves OP-TEE's RPCs for TAs and files.

    `tas` are the signed TAs to load, by UUID. `files` are those of the secure storage, by path;
    pass the same dictionary to the next run to keep the storage.
    """

    COMMANDS: ClassVar[dict[int, Callable[[Supplicant, Request], None]]]

    def __init__(
        self,
        tas: Mapping[UUID | str, bytes] | None = None,
        files: dict[str, bytearray] | None = None,
    ) -> None:
        self.tas: dict[UUID, bytes] = {as_uuid(uuid): ta for uuid, ta in (tas or {}).items()}
        self.files: dict[str, bytearray] = {} if files is None else files
        self._open: dict[int, bytearray] = {}
        self._lists: dict[int, list[str]] = {}
        self._last = 0

    def serve(self, command: int, params: list[Param], memory: Mapping[int, Shm]) -> list[Param]:
        """The parameters of an RPC as they are after it. Raises TeeError."""
        work = self.COMMANDS.get(command)
        if work is None:
            raise _error(Result.NOT_SUPPORTED)
        request = Request(params, memory)
        work(self, request)
        return request.params

    def load_ta(self, request: Request) -> None:
        """Serve RPC LOAD_TA: the signed TA with a UUID, or its size. Raises TeeError without it."""
        named = request.value(0)
        image = self.tas.get(words_uuid(named.a, named.b))
        if image is None:
            raise _error(Result.ITEM_NOT_FOUND)
        request.write(1, image)

    def fs(self, request: Request) -> None:
        """Serve RPC FS: an operation on the files of the secure storage. Raises TeeError."""
        work = _FS.get(request.value(0).a)
        if work is None:
            raise _error(Result.BAD_PARAMETERS)
        work(self, request)

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _file(self, request: Request) -> bytearray:
        data = self._open.get(request.value(0).b)
        if data is None:
            raise _error(Result.BAD_PARAMETERS)
        return data

    def _open_file(self, request: Request) -> None:
        data = self.files.get(request.text(1))
        if data is None:
            raise _error(Result.ITEM_NOT_FOUND)
        number = self._number()
        self._open[number] = data
        request.set(2, number)

    def _create(self, request: Request) -> None:
        self.files[request.text(1)] = bytearray()
        self._open_file(request)

    def _close(self, request: Request) -> None:
        self._open.pop(request.value(0).b, None)

    def _read(self, request: Request) -> None:
        at = request.value(0).c
        request.write(1, bytes(self._file(request)[at : at + request.size(1)]))

    def _write(self, request: Request) -> None:
        at, data, content = request.value(0).c, request.read(1), self._file(request)
        if at > MAX_FILE or at + len(data) > MAX_FILE:
            raise _error(Result.STORAGE_NO_SPACE)
        content.extend(bytes(max(0, at - len(content))))
        content[at : at + len(data)] = data

    def _truncate(self, request: Request) -> None:
        length, content = request.value(0).c, self._file(request)
        if length > MAX_FILE:
            raise _error(Result.STORAGE_NO_SPACE)
        del content[length:]
        content.extend(bytes(length - len(content)))

    def _remove(self, request: Request) -> None:
        if self.files.pop(request.text(1), None) is None:
            raise _error(Result.ITEM_NOT_FOUND)

    def _rename(self, request: Request) -> None:
        old, new = request.text(1), request.text(2)
        if old not in self.files:
            raise _error(Result.ITEM_NOT_FOUND)
        if new in self.files and not request.value(0).b:
            raise _error(Result.ACCESS_CONFLICT)
        self.files[new] = self.files.pop(old)

    def _open_dir(self, request: Request) -> None:
        folder = request.text(1).rstrip("/") + "/"
        number = self._number()
        inside = {
            name[len(folder) :].partition("/")[0] for name in self.files if name.startswith(folder)
        }
        self._lists[number] = sorted(inside)
        request.set(2, number)

    def _close_dir(self, request: Request) -> None:
        self._lists.pop(request.value(0).b, None)

    def _read_dir(self, request: Request) -> None:
        names = self._lists.get(request.value(0).b)
        if not names:
            raise _error(Result.ITEM_NOT_FOUND)
        request.write(1, names.pop(0).encode() + b"\0")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self.tas)} TAs, {len(self.files)} files>"


MAX_FILE = 64 << 20


def _error(result: Result) -> TeeError:
    return TeeError(result, Origin.COMMS)


Supplicant.COMMANDS = {Command.LOAD_TA: Supplicant.load_ta, Command.FS: Supplicant.fs}

_FS: dict[int, Callable[[Supplicant, Request], None]] = {
    Fs.OPEN: Supplicant._open_file,
    Fs.CREATE: Supplicant._create,
    Fs.CLOSE: Supplicant._close,
    Fs.READ: Supplicant._read,
    Fs.WRITE: Supplicant._write,
    Fs.TRUNCATE: Supplicant._truncate,
    Fs.REMOVE: Supplicant._remove,
    Fs.RENAME: Supplicant._rename,
    Fs.OPENDIR: Supplicant._open_dir,
    Fs.CLOSEDIR: Supplicant._close_dir,
    Fs.READDIR: Supplicant._read_dir,
}
