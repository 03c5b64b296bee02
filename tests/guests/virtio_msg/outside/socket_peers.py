"""Peers of the socket bus: processes of the examples, and one that says whatever it is told to."""

import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

from ffabric.abi.virtio_msg import socket as abi
from ffabric.abi.virtio_msg.generations import PR28
from ffabric.abi.virtio_msg.header import HEADER_SIZE, peek_header
from ffabric.abi.virtio_msg.message import build, parse
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from processes_at_hand import SOON

PATIENT = SOON * 1_000_000_000
EXAMPLES = Path(__file__).parents[4] / "examples/virtio"
HELLO = {
    "magic": abi.MAGIC,
    "version": 1,
    "role": abi.Role.DEVICE,
    "generation": 1,
    "max_size": 264,
    "max_data": 32768,
}


class Client(DriverSide):
    """Does what it is given to do."""

    def __init__(self, work, *, generation="pr28", **how):
        super().__init__("client", generation=generation, patience=PATIENT, **how)
        self._work = work
        self.finished = False

    async def work(self, bus):
        await self._work(bus)
        self.finished = True


def start(program, *arguments, heard=False):
    """A process of an example."""
    return subprocess.Popen(
        [sys.executable, EXAMPLES / program, *map(str, arguments)],
        stdout=subprocess.PIPE if heard else None,
        text=True,
    )


class Raw:
    """A connection; `recv` waits for the next message."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SOON)
        self.socket.connect(str(path))
        self._stream = self.socket.makefile("rb")

    def close(self):
        self._stream.close()
        self.socket.close()

    def send(self, kind, **fields):
        self.socket.sendall(build(kind, PR28, **fields))

    def hello(self, **changed):
        self.send(abi.HELLO, token=1, **(HELLO | changed))

    def recv(self):
        """The next message; None at the end."""
        header = self._stream.read(HEADER_SIZE)
        if len(header) < HEADER_SIZE:
            return None
        return parse(header + self._stream.read(peek_header(header).size - HEADER_SIZE), PR28)

    def until(self, kind):
        """The next message of that kind, whatever comes before."""
        while (message := self.recv()) is not None and message.kind is not kind:
            pass
        return message

    def ask(self, kind, **fields):
        self.send(kind, token=77, **fields)
        while (message := self.recv()) is not None and not (
            message.response and message.token == 77
        ):
            pass
        return message


class Thread(threading.Thread):
    """Does ``act`` with a connection to a path, beside the system; `result` is what it returns."""

    def __init__(self, path, act):
        super().__init__(daemon=True)
        self._path, self._act = path, act
        self.result = self.error = None
        self.start()

    def run(self):
        raw = Raw(self._path)
        try:
            self.result = self._act(raw)
        except (OSError, AssertionError, struct.error) as error:
            self.error = error
        finally:
            raw.close()

    def done(self):
        self.join(SOON)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


def listen(system, name):
    """What a partition prints from now on."""
    lines: list[str] = []

    def printed(who, line):
        if who == name:
            lines.append(line)

    system.system.listeners.append(printed)
    return lines
