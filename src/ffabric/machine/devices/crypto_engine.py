"""A crypto accelerator: SHA-256 and HMAC-SHA-256, with keys in slots that nobody can read.

A model of ours, of what engines on chips have in common: data goes into a window, a command works
on the first bytes of it, a digest is there afterwards. A key is written into the window once and is
then in a slot; it can be used and erased, not read.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import IntEnum
from typing import ClassVar, Final

from ffabric.machine.bus import Device
from ffabric.machine.devices.description import DeviceDescription, Frame, Wiring
from ffabric.machine.registers import Register, RegisterArray, RegisterDevice, RegisterMap

SLOTS: Final = 4
KEY: Final = 32
DIGEST: Final = 32
WINDOW: Final = 0x1000
"""Where the window is, and how many bytes it has."""
_SIZE: Final = 2 * WINDOW


class Command(IntEnum):
    """What is written to COMMAND, after SLOT and LENGTH."""

    LOAD_KEY = 1
    ERASE = 2
    DIGEST = 3
    AUTHENTICATE = 4


class Status(IntEnum):
    """What STATUS says of the last command."""

    OK = 0
    BAD_SLOT = 1
    BAD_LENGTH = 2
    NO_KEY = 3
    BAD_COMMAND = 4


class CryptoEngine(RegisterDevice):
    """The engine."""

    __slots__ = ("keys", "length", "slot", "status", "window")

    def __init__(self) -> None:
        self.keys: list[bytes] = [b""] * SLOTS
        self.window = bytearray(WINDOW)
        self.slot = 0
        self.length = 0
        self.status = Status.OK

    def _write_command(self, value: int) -> None:
        work = {
            Command.LOAD_KEY: self._load_key,
            Command.ERASE: self._erase,
            Command.DIGEST: self._digest,
            Command.AUTHENTICATE: self._authenticate,
        }.get(value)  # type: ignore[call-overload]
        self.status = Status.BAD_COMMAND if work is None else work()

    def _load_key(self) -> Status:
        if self.slot >= SLOTS:
            return Status.BAD_SLOT
        if self.length != KEY:
            return Status.BAD_LENGTH
        self.keys[self.slot] = bytes(self.window[:KEY])
        self.window[:] = bytes(WINDOW)
        return Status.OK

    def _erase(self) -> Status:
        if self.slot >= SLOTS:
            return Status.BAD_SLOT
        self.keys[self.slot] = b""
        self.window[:] = bytes(WINDOW)
        return Status.OK

    def _digest(self) -> Status:
        if self.length > WINDOW:
            return Status.BAD_LENGTH
        return self._answer(hashlib.sha256(self.window[: self.length]).digest())

    def _authenticate(self) -> Status:
        if self.slot >= SLOTS:
            return Status.BAD_SLOT
        if self.length > WINDOW:
            return Status.BAD_LENGTH
        key = self.keys[self.slot]
        if not key:
            return Status.NO_KEY
        return self._answer(hmac.digest(key, bytes(self.window[: self.length]), hashlib.sha256))

    def _answer(self, digest: bytes) -> Status:
        """Leave a digest in the window, and nothing of the data."""
        self.window[:] = digest.ljust(WINDOW, b"\0")
        return Status.OK

    def _read_status(self) -> int:
        return self.status

    def _write_slot(self, value: int) -> None:
        self.slot = value

    def _write_length(self, value: int) -> None:
        self.length = value

    def _read_word(self, index: int) -> int:
        return int.from_bytes(self.window[8 * index : 8 * index + 8], "little")

    def _write_word(self, index: int, value: int) -> None:
        self.window[8 * index : 8 * index + 8] = value.to_bytes(8, "little")

    REGISTERS: ClassVar[RegisterMap] = RegisterMap(
        Register("COMMAND", 0x00, None, _write_command),
        Register("STATUS", 0x04, _read_status),
        Register("SLOT", 0x08, None, _write_slot),
        Register("LENGTH", 0x0C, None, _write_length),
        Register("SLOTS", 0x10, SLOTS),
        RegisterArray("WINDOW", WINDOW, WINDOW // 8, _read_word, _write_word, size=8),
    )


def _create(_wiring: Wiring) -> tuple[Device, ...]:
    return (CryptoEngine(),)


DESCRIPTION = DeviceDescription(
    type="crypto_engine",
    title="Crypto accelerator",
    compatible=(),
    frames=(Frame("registers", _SIZE),),
    interrupts=(),
    create=_create,
)
