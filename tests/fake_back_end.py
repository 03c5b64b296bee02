"""A vhost-user back end in a thread of the tests: as capable, slow or wicked as it is told to be.

It speaks the protocol by itself, from vhost-user.rst, and shares no code with the front end.
"""

import mmap
import os
import select
import socket
import struct
import threading
from contextlib import suppress

F_PROTOCOL = 1 << 30
MQ, REPLY_ACK, CONFIG, SLOTS = 1 << 0, 1 << 3, 1 << 9, 1 << 15
ALL = MQ | REPLY_ACK | CONFIG | SLOTS
QUESTIONS = {1, 11, 15, 17, 24, 36}
"""Requests that have an answer of their own."""


class FakeBackEnd:
    """A back end that turns what is readable of a chain into what is writable with ``serve``.

    ``told`` is every request in order. ``silent``: requests that it does not answer. ``held``:
    while that event is not set it serves no virtqueue; ``kept`` is set when that keeps it from
    serving one. ``deaf``: it does not take kicks.
    """

    def __init__(
        self,
        *,
        features=1 << 32 | F_PROTOCOL,
        protocol=ALL,
        queues=1,
        slots=4,
        config=b"",
        serve=bytes.upper,
        silent=(),
        deaf=False,
    ):
        self.features, self.protocol, self.queues, self.slots = features, protocol, queues, slots
        self.config, self.serve, self.silent, self.deaf = config, serve, set(silent), deaf
        self.held = threading.Event()
        self.held.set()
        self.kept = threading.Event()
        self.told, self.tables, self.sizes, self.shrunk = [], [], [], []
        self.chosen = None
        self.regions = {}
        self.rings = {}
        self.written = b""
        self.there, self._here = socket.socketpair()
        self._stop, self._stop_there = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        """Hang up, and end."""
        self.held.set()
        self._stop.close()
        self._thread.join()
        for mapped, _ in self.regions.values():
            mapped.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def _run(self):
        with self._here, self._stop_there:
            while True:
                kicks = {
                    ring["kick"]: index
                    for index, ring in list(self.rings.items())
                    if "kick" in ring and not self.deaf
                }
                ready, _, _ = select.select([self._here, self._stop_there, *kicks], [], [])
                if self._stop_there in ready:
                    return
                for fd in ready:
                    if fd in kicks:
                        with suppress(BlockingIOError):
                            os.eventfd_read(fd)
                            self._serve(kicks[fd])
                if self._here in ready and not self._message():
                    return

    def _message(self):
        try:
            data, fds, _, _ = socket.recv_fds(self._here, 12, 16)
        except ConnectionResetError:
            return False
        if not data:
            return False
        request, flags, size = struct.unpack("<III", data)
        payload = b""
        while len(payload) < size:
            part, more, _, _ = socket.recv_fds(self._here, size - len(payload), 16)
            payload += part
            fds += more
        self.told.append(request)
        answer = self._handle(request, payload, fds)
        if request in self.silent:
            return True
        if answer is None and flags & 8 and self.protocol & REPLY_ACK:
            answer = bytes(8)
        if answer is not None:
            with suppress(OSError):
                self._here.sendall(struct.pack("<III", request, 5, len(answer)) + answer)
        return True

    def _handle(self, request, payload, fds):
        numbers = {1: self.features, 15: self.protocol, 17: self.queues, 36: self.slots}
        if request in numbers:
            return struct.pack("<Q", numbers[request])
        if request in (8, 9, 10, 11, 12, 13, 14, 18):
            return self._ring(request, payload, fds)
        if request == 2:
            self.chosen = struct.unpack("<Q", payload)[0]
        elif request == 5:
            self._table(payload, fds)
        elif request == 37:
            self._add(struct.unpack_from("<QQQQ", payload, 8), *fds)
        elif request == 38:
            self.regions.pop(struct.unpack_from("<Q", payload, 8)[0])[0].close()
        elif request == 24:
            offset, size, _ = struct.unpack_from("<III", payload)
            return payload[:12] + self.config[offset : offset + size]
        elif request == 25:
            self.written = payload[12:]
        return None

    def _table(self, payload, fds):
        count = struct.unpack_from("<I", payload)[0]
        table = [struct.unpack_from("<QQQQ", payload, 8 + 32 * at) for at in range(count)]
        self.tables.append([each[0] for each in table])
        for mapped, _ in self.regions.values():
            mapped.close()
        self.regions.clear()
        for region, fd in zip(table, fds, strict=True):
            self._add(region, fd)

    def _ring(self, request, payload, fds):
        index = struct.unpack_from("<I", payload)[0]
        ring = self.rings.setdefault(index, {})
        if request == 9:
            _, _, desc, used, avail, _ = struct.unpack("<IIQQQQ", payload)
            ring.update(desc=desc, used=used, avail=avail)
        elif request == 11:
            for name in ("kick", "call", "error"):
                os.close(ring.pop(name))
            return struct.pack("<II", index, self.rings.pop(index)["next"])
        elif fds:
            name = {12: "kick", 13: "call", 14: "error"}[request]
            if name in ring:
                os.close(ring[name])
            ring[name] = fds[0]
        else:
            ring[{8: "size", 10: "next", 18: "enabled"}[request]] = struct.unpack("<II", payload)[1]
        return None

    def _add(self, region, fd):
        address, size, _, offset = region
        self.sizes.append(os.fstat(fd).st_size)
        try:
            os.ftruncate(fd, 0)
        except OSError as error:
            self.shrunk.append(error)
        self.regions[address] = (mmap.mmap(fd, size, offset=offset), size)
        os.close(fd)

    # Memory and rings.

    def at(self, address, size):
        """The memory at a guest address, and the offset in it."""
        for base, (mapped, length) in self.regions.items():
            if base <= address and address + size <= base + length:
                return mapped, address - base
        raise LookupError(f"nothing at {address:#x}")

    def read(self, address, size):
        """Bytes at a guest address."""
        mapped, at = self.at(address, size)
        return mapped[at : at + size]

    def write(self, address, data):
        """Store bytes at a guest address."""
        mapped, at = self.at(address, len(data))
        mapped[at : at + len(data)] = data

    def _serve(self, index):
        if not self.held.is_set():
            self.kept.set()
        self.held.wait()
        ring = self.rings[index]
        if self.features & F_PROTOCOL and not ring.get("enabled"):
            return
        while True:
            available = struct.unpack("<H", self.read(ring["avail"] + 2, 2))[0]
            if ring["next"] & 0xFFFF == available:
                break
            slot = ring["next"] % ring["size"]
            head = struct.unpack("<H", self.read(ring["avail"] + 4 + 2 * slot, 2))[0]
            written = self._chain(ring["desc"], head)
            self.write(ring["used"] + 4 + 8 * slot, struct.pack("<II", head, written))
            ring["next"] += 1
            self.write(ring["used"] + 2, struct.pack("<H", ring["next"] & 0xFFFF))
        os.eventfd_write(ring["call"], 1)

    def _chain(self, table, index):
        readable, writable = b"", []
        while True:
            descriptor = self.read(table + 16 * index, 16)
            address, length, flags, following = struct.unpack("<QIHH", descriptor)
            if flags & 4:
                table, index = address, 0
                continue
            if flags & 2:
                writable.append((address, length))
            else:
                readable += self.read(address, length)
            if not flags & 1:
                break
            index = following
        answer = self.serve(readable)
        done = 0
        for address, length in writable:
            part = answer[done : done + length]
            self.write(address, part)
            done += len(part)
        return done
