"""A QEMU process: its command line, its memory, its doorbell and console, its death.

It executes the CPUs of one partition on QEMU's `virt` machine with a secure world, whose EL3 is our
shim. All that it shares with us is passed as open file descriptors: the RAM, the mailbox, the shim,
two sockets. It cannot outlive us: the kernel kills it when we die, whatever we die of.

The RAM is made of pieces without gaps, banks of our memory or memory that nobody else sees. Behind
them is the mailbox, and behind that what the shim copies to where RAM is that we do not share.

A guest that is confined reaches of all this what the stage-2 tables have that its `Confinement`
names. Its QEMU sees more, and is trusted: whoever takes over that process has its memory.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ffabric.machine.engines.qemu import mailbox
from ffabric.machine.host import process

if TYPE_CHECKING:
    from ffabric.machine.memory import Bank

PROGRAM = "qemu-system-aarch64"
PACKAGE = "qemu-system-arm"
"""Debian's package of it."""
OLDEST = (7, 2)
"""The oldest that has what is needed: that of Debian 12."""
_VERSION = re.compile(r"version (\d+)\.(\d+)")

RAM_BASE = 0x4000_0000
"""Where `virt` has its RAM."""
MACHINE = "virt-6.1"
"""The last whose GIC, without an ITS, has no LPIs: their tables would be read and written past
stage 2, wherever the guest says."""
CPU = "cortex-a57"
EL2_CPU = "neoverse-n1"
"""Of a kernel that is a hypervisor: without VHE, Linux's hangs in QEMU when it protects itself."""
SEL2_CPU = "max,sve=off,pauth-impdef=on,lpa2=off"
"""The only one of QEMU's that has an S-EL2; with a pointer authentication that costs little."""
CLOBBERED = 0x10_0000
"""The bytes at the start of the RAM where QEMU, when it starts, puts a devicetree of its own."""
START_SECONDS = 20.0
_LOOK_SECONDS = 0.002

_PARAMETERS = struct.Struct("<6Q")
_PARAMETERS_AT = 8  # in the shim
_UNIT = 0x1_0000
"""QEMU's RAM has whole ones."""


class World(msgspec.Struct, frozen=True):
    """Who is below EL3: the code of EL3, and what the first and the second UART are."""

    shim: str
    serial: tuple[str, str]


NORMAL = World("shim.bin", ("console", "bell"))
SECURE = World("secure_shim.bin", ("bell", "console"))


class Piece(msgspec.Struct, frozen=True):
    """Bytes of RAM: those of an open file, or (None) of no file."""

    fd: int | None
    size: int


def pieces(banks: Iterable[Bank]) -> list[Piece]:
    """The RAM of a QEMU in which each of ``banks`` is at its physical address."""
    found: list[Piece] = []
    at = RAM_BASE
    for bank in sorted(banks, key=lambda each: each.base):
        if bank.base > at:
            found.append(Piece(None, bank.base - at))
        found.append(Piece(bank.fd, bank.size))
        at = bank.end
    return found


class Confinement(msgspec.Struct, frozen=True):
    """Stage-2 tables that EL2 walks for what is below it (Arm DDI 0487, D19.2): its registers.

    ``vsttbr``, ``vstcr``: those of what is in the Secure state (FEAT_SEL2); 0: it is not.
    """

    vttbr: int
    vtcr: int
    hcr: int
    vsttbr: int = 0
    vstcr: int = 0


class Image(msgspec.Struct, frozen=True):
    """What is in memory of QEMU's own when it starts: the address and the bytes."""

    address: int = 0
    data: bytes = b""


def find_program() -> str:
    """The path of QEMU; MissingProgram if there is none."""
    return process.find(PROGRAM, PACKAGE)


def check_program() -> None:
    """Raise MissingProgram if there is no QEMU, or if it is older than `OLDEST`."""
    path = find_program()
    asked = [path, "--version"]
    said = subprocess.run(asked, check=False, capture_output=True, text=True).stdout  # noqa: S603
    found = _VERSION.search(said)
    if found is not None and (int(found[1]), int(found[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise process.OldProgram(path, PACKAGE, f"version {found[1]}.{found[2]}", oldest)


def shim(
    mailbox_address: int, world: World = NORMAL, confinement: Confinement | None = None
) -> bytes:
    """The code of EL3 for a mailbox at that physical address."""
    code = bytearray((resources.files(__package__) / world.shim).read_bytes())
    c = confinement or Confinement(0, 0, 0)
    words = mailbox_address, c.hcr, c.vttbr, c.vtcr, c.vsttbr, c.vstcr
    _PARAMETERS.pack_into(code, _PARAMETERS_AT, *words)
    return bytes(code)


def command(
    program: str,
    name: str,
    *,
    world: World,
    cpus: int,
    el2: bool,
    cpu: str = CPU,
    ram: Sequence[Piece],
    fds: dict[str, int],
) -> list[str]:
    """The command line; ``ram``: all pieces, the mailbox's too, ``fds``: shim and sockets.

    With a listening socket ``gdb`` among them nothing is executed until a gdb there says so.
    """
    return [
        program,
        *("-name", f"ffabric:{name}", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", f"{MACHINE},secure=on,gic-version=3,virtualization={'on' if el2 else 'off'}"),
        *("-accel", "tcg,thread=multi", "-cpu", cpu, "-smp", str(cpus)),
        *("-m", f"{sum(piece.size for piece in ram)}B"),
        *chain.from_iterable(_memory(f"ram{number}", each) for number, each in enumerate(ram)),
        *("-bios", f"/proc/self/fd/{fds['shim']}"),
        *chain.from_iterable(_serial(each, fds[each]) for each in world.serial),
        *(_gdb(fds["gdb"]) if "gdb" in fds else ()),
    ]


def _memory(name: str, piece: Piece) -> tuple[str, ...]:
    kind = "memory-backend-ram,reserve=off"
    if piece.fd is not None:
        kind = f"memory-backend-file,share=on,mem-path=/proc/self/fd/{piece.fd}"
    return "-object", f"{kind},id={name},size={piece.size}", "-numa", f"node,memdev={name}"


def _serial(name: str, fd: int) -> tuple[str, ...]:
    return "-chardev", f"socket,id={name},fd={fd}", "-serial", f"chardev:{name}"


def _gdb(fd: int) -> tuple[str, ...]:
    chardev = f"socket,id=gdb,fd={fd},server=on,wait=off"
    return "-chardev", chardev, "-gdb", "chardev:gdb", "-S"


class QemuProcess:
    """QEMU for ``cpus`` CPUs with ``ram``, which has ``image`` in memory of its own."""

    def __init__(
        self,
        name: str,
        *,
        cpus: int,
        ram: Sequence[Piece],
        el2: bool = False,
        cpu: str = CPU,
        world: World = NORMAL,
        image: Image = Image(),  # noqa: B008 - it is frozen
        confinement: Confinement | None = None,
    ) -> None:
        self.name = name
        self.cpus = cpus
        self.ended = ""
        """Why it is not there any more."""
        self.debugger: int | None = None
        """A listening socket at which QEMU serves a gdb: set before it is started."""
        self._el2 = el2
        self._cpu = cpu
        self._ram = tuple(ram)
        self._world = world
        self._confinement = confinement
        self._fd = os.memfd_create(f"ffabric:{name}:mailbox")
        ram_size = sum(piece.size for piece in ram)
        needed = ram_size + mailbox.SIZE + len(image.data)
        self._size = -(-needed // _UNIT) * _UNIT - ram_size
        os.ftruncate(self._fd, self._size)
        os.pwrite(self._fd, image.data, mailbox.SIZE)
        self._mapping = mmap.mmap(self._fd, mailbox.SIZE)
        self.mailbox = mailbox.Mailbox(memoryview(self._mapping).cast("Q"))
        self.mailbox_address = RAM_BASE + ram_size
        """The physical address of the mailbox: behind all other RAM."""
        self.mailbox.load(self.mailbox_address + mailbox.SIZE, image.address, len(image.data))
        if confinement is not None:
            self.mailbox.confine()
        self.bell, self._bell_there = socket.socketpair()
        self.console, self._console_there = socket.socketpair()
        self.errors, self._errors_there = os.pipe()
        self._process: subprocess.Popen[bytes] | None = None
        for end in (self.bell, self.console):
            os.set_blocking(end.fileno(), False)

    @property
    def pid(self) -> int | None:
        """Its process id; None before it was started."""
        return None if self._process is None else self._process.pid

    def start(self, processors: set[int], given_up: Callable[[], bool]) -> None:
        """Start it on ``processors`` of the host, and wait until its CPUs wait to be started.

        With a ``debugger`` that is when gdb lets them, and it is ended if we have ``given_up``.

        Raises MissingProgram. It may end before they do; see ``ended``.
        """
        before = [(fd, os.pread(fd, size, 0)) for fd, size in self._clobbered()]
        self._spawn(find_program(), processors)
        patience = START_SECONDS if self.debugger is None else math.inf
        deadline = time.monotonic() + patience
        while not self.mailbox.ready:
            if time.monotonic() >= deadline:
                self.kill(f"it has not started within {START_SECONDS:.0f} s")
            elif given_up():
                self.kill("the run ends")
            if not self.is_there():
                return
            time.sleep(_LOOK_SECONDS)
        for fd, data in before:
            os.pwrite(fd, data, 0)
        if self.mailbox.has_lpis:
            self.kill("its GIC has LPIs, whose tables no stage 2 covers")

    def _clobbered(self) -> Iterator[tuple[int, int]]:
        """Of the files in the first `CLOBBERED` bytes: their descriptors, how much is there."""
        left = CLOBBERED
        for piece in self._ram:
            if piece.fd is not None and left > 0:
                yield piece.fd, min(left, piece.size)
            left -= piece.size

    def _spawn(self, program: str, processors: set[int]) -> None:
        image = os.memfd_create(f"ffabric:{self.name}:shim")
        try:
            os.write(image, shim(self.mailbox_address, self._world, self._confinement))
            ram = (*self._ram, Piece(self._fd, self._size))
            fds = {
                "shim": image,
                "console": self._console_there.fileno(),
                "bell": self._bell_there.fileno(),
            }
            if self.debugger is not None:
                fds["gdb"] = self.debugger
            line = command(
                program,
                self.name,
                world=self._world,
                cpus=self.cpus,
                el2=self._el2,
                cpu=self._cpu,
                ram=ram,
                fds=fds,
            )
            files = [piece.fd for piece in ram if piece.fd is not None]
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                process.mortal(line, processors),
                stdin=subprocess.DEVNULL,
                stdout=self._errors_there,
                stderr=self._errors_there,
                pass_fds=[*files, *fds.values()],
                start_new_session=True,
            )
        finally:
            os.close(image)
            self._console_there.close()
            self._bell_there.close()
            os.close(self._errors_there)

    def wake(self, cpu: int) -> None:
        """Ring for a CPU. One byte wakes for any number of reasons."""
        with suppress(OSError):  # it is dead, or has not read what it was sent before
            self.bell.send(bytes((cpu,)))

    def drained(self) -> bool:
        """Read the doorbell empty; False if nobody will ever ring again."""
        try:
            while self.bell.recv(4096):
                pass
        except BlockingIOError:
            return True
        except OSError:
            pass
        self._wait_for_end()
        return False

    def _wait_for_end(self) -> None:
        if self._process is None or self.ended:
            return
        how = process.end_of(self._process, self.errors)
        self.ended = f"QEMU (process {self._process.pid}) ended: {how}"

    def is_there(self) -> bool:
        """Whether it goes on."""
        if self._process is not None and self._process.poll() is not None:
            self._wait_for_end()
        return not self.ended

    def is_stopped(self) -> bool:
        """Whether none of its threads executes: somebody has stopped it (SIGSTOP)."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[:1] == ["T"]

    def kill(self, reason: str) -> None:
        """End it at once, if it is there, and keep why: none of its CPUs executes afterwards."""
        if self._process is None or self.ended:
            return
        self._process.kill()
        self._process.wait()
        self.ended = f"QEMU (process {self._process.pid}) was ended: {reason}"

    def close(self) -> None:
        """Kill it and give back what it shared. May be called twice."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.ended = self.ended or "closed"
        for end in (self.bell, self.console, self._bell_there, self._console_there):
            end.close()
        for fd in (self.errors, self._fd):
            with suppress(OSError):
                os.close(fd)
        self.errors = self._fd = -1
