"""A QEMU process: its command line, its memory, its doorbell and console, its death.

It executes the CPUs of one partition on QEMU's `virt` machine with a secure world, whose EL3 is our
shim. All that it shares with us is passed as open file descriptors: the RAM, the mailbox, the shim,
two sockets. It cannot outlive us: the kernel kills it when we die, whatever we die of.
"""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
import time
from contextlib import suppress
from importlib import resources

from ffabric.machine import process
from ffabric.machine.engines import qemu_mailbox as mailbox

PROGRAM = "qemu-system-aarch64"
PACKAGE = "qemu-system-arm"
"""Debian's package of it."""

RAM_BASE = 0x4000_0000
"""Where `virt` has its RAM."""
CPU = "cortex-a57"
CLOBBERED = 0x10_0000
"""The bytes at the start of the RAM where QEMU, when it starts, puts a devicetree of its own."""
START_SECONDS = 20.0
_LOOK_SECONDS = 0.002

_MAILBOX_ADDRESS_AT = 8  # in the shim


def find_program() -> str:
    """The path of QEMU; MissingProgram if there is none."""
    return process.find(PROGRAM, PACKAGE)


def shim(mailbox_address: int) -> bytes:
    """The code of EL3 for a mailbox at that physical address."""
    code = bytearray((resources.files(__package__) / "qemu_shim.bin").read_bytes())
    code[_MAILBOX_ADDRESS_AT : _MAILBOX_ADDRESS_AT + 8] = mailbox_address.to_bytes(8, "little")
    return bytes(code)


def command(
    program: str, name: str, *, cpus: int, el2: bool, ram: tuple[int, int], fds: dict[str, int]
) -> list[str]:
    """The command line; ``ram``: its file descriptor and size, ``fds``: mailbox, shim, sockets."""
    fd, size = ram
    backend = "memory-backend-file,share=on,mem-path=/proc/self/fd"
    return [
        program,
        *("-name", f"ffabric:{name}", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", f"virt,secure=on,gic-version=3,virtualization={'on' if el2 else 'off'}"),
        *("-accel", "tcg,thread=multi", "-cpu", CPU, "-smp", str(cpus)),
        *("-m", f"{size + mailbox.SIZE}B"),
        *("-object", f"{backend}/{fd},id=ram,size={size}"),
        *("-object", f"{backend}/{fds['mailbox']},id=mailbox,size={mailbox.SIZE}"),
        *("-numa", "node,memdev=ram", "-numa", "node,memdev=mailbox"),
        *("-bios", f"/proc/self/fd/{fds['shim']}"),
        *("-chardev", f"socket,id=console,fd={fds['console']}", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=bell,fd={fds['bell']}", "-serial", "chardev:bell"),
    ]


class QemuProcess:
    """QEMU for ``cpus`` CPUs, whose RAM is the file ``ram``: its descriptor and size."""

    def __init__(self, name: str, *, cpus: int, el2: bool, ram: tuple[int, int]) -> None:
        self.name = name
        self.cpus = cpus
        self.el2 = el2
        self.ram = ram
        self.ended = ""
        """Why it is not there any more."""
        self._fd = os.memfd_create(f"ffabric:{name}:mailbox")
        os.ftruncate(self._fd, mailbox.SIZE)
        self._mapping = mmap.mmap(self._fd, mailbox.SIZE)
        self.mailbox = mailbox.Mailbox(memoryview(self._mapping).cast("Q"))
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

    def start(self, processors: set[int]) -> None:
        """Start it on ``processors`` of the host, and wait until its CPUs wait to be started.

        Raises MissingProgram. It may end before they do; see ``ended``.
        """
        before = os.pread(self.ram[0], CLOBBERED, 0)
        self._spawn(find_program(), processors)
        deadline = time.monotonic() + START_SECONDS
        while not self.mailbox.ready:
            late = time.monotonic() >= deadline
            if late or self._process is None or self._process.poll() is not None:
                self._wait_for_end()
                return
            time.sleep(_LOOK_SECONDS)
        os.pwrite(self.ram[0], before, 0)

    def _spawn(self, program: str, processors: set[int]) -> None:
        image = os.memfd_create(f"ffabric:{self.name}:shim")
        try:
            os.write(image, shim(RAM_BASE + self.ram[1]))
            fds = {
                "mailbox": self._fd,
                "shim": image,
                "console": self._console_there.fileno(),
                "bell": self._bell_there.fileno(),
            }
            line = command(program, self.name, cpus=self.cpus, el2=self.el2, ram=self.ram, fds=fds)
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                process.mortal(line, processors),
                stdin=subprocess.DEVNULL,
                stdout=self._errors_there,
                stderr=self._errors_there,
                pass_fds=[self.ram[0], *fds.values()],
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
