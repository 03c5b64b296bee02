"""A crypto accelerator that all VMs share: OP-TEE's driver, and each VM's keys.

There is one engine with a few key slots. A VM's keys are kept in its bank, and are in a slot only
from when one of its TAs uses them until another key needs the slot; so a VM may have more keys than
there are slots, and finds nobody else's there. A use is never suspended in the middle: what is in
the engine's window is this call's alone. When a VM is gone, the slots with its keys are erased.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ffabric.abi.optee.tee import Origin, Result
from ffabric.guests.optee.error import TeeError
from ffabric.machine.devices.crypto_engine import DIGEST, KEY, SLOTS, WINDOW, Command, Status

if TYPE_CHECKING:
    from uuid import UUID

    from ffabric.guests.optee.place import Place

MAX_KEYS: Final = 64
"""Keys of a bank."""
_COMMAND, _STATUS, _SLOT, _LENGTH = 0x00, 0x04, 0x08, 0x0C

Name = tuple[int, int]
"""A key in a slot: the number of its bank, and its own there."""


class Accelerator:
    """The driver of the engine at ``base``; there is one, of the nexus."""

    def __init__(self, base: int) -> None:
        self._base = base
        self._slots: list[Name | None] = [None] * SLOTS
        self._recent: list[int] = [*range(SLOTS)]
        """Slots, the one that was used longest ago first."""
        self._banks = 0

    def keys(self) -> Keys:
        """The keys of one more bank: none yet."""
        self._banks += 1
        return Keys(self, self._banks)

    def digest(self, place: Place, data: bytes) -> bytes:
        """SHA-256 of up to 4 KiB."""
        return self._run(place, Command.DIGEST, 0, data)

    def authenticate(self, place: Place, name: Name, key: bytes, data: bytes) -> bytes:
        """HMAC-SHA-256 of up to 4 KiB, with a key that is loaded if it is in no slot."""
        if name in self._slots:
            slot = self._slots.index(name)
        else:
            slot = self._recent[0]
            self._slots[slot] = None
            self._run(place, Command.LOAD_KEY, slot, key)
            self._slots[slot] = name
        self._recent.remove(slot)
        self._recent.append(slot)
        return self._run(place, Command.AUTHENTICATE, slot, data)

    def erase(self, place: Place, bank: int, number: int | None = None) -> None:
        """Erase a key of a bank, or (None) all of them, from the slots."""
        for slot, name in enumerate(self._slots):
            if name is not None and name[0] == bank and number in (None, name[1]):
                self._run(place, Command.ERASE, slot, b"")
                self._slots[slot] = None

    def _run(self, place: Place, command: Command, slot: int, data: bytes) -> bytes:
        if len(data) > WINDOW:
            raise TeeError(Result.EXCESS_DATA, Origin.TEE)
        memory, base = place.memory, self._base
        for at in range(0, len(data), 8):
            memory.write(base + WINDOW + at, data[at : at + 8].ljust(8, b"\0"))
        memory.write32(base + _SLOT, slot)
        memory.write32(base + _LENGTH, len(data))
        memory.write32(base + _COMMAND, command)
        if memory.read32(base + _STATUS) != Status.OK:
            raise TeeError(Result.GENERIC, Origin.TEE)
        return b"".join(memory.read(base + WINDOW + at, 8) for at in range(0, DIGEST, 8))


class Keys:
    """The keys of one bank, each of one TA."""

    def __init__(self, accelerator: Accelerator, bank: int) -> None:
        self.accelerator = accelerator
        self._bank = bank
        self._keys: dict[int, tuple[UUID, bytes]] = {}
        self._last = 0

    def add(self, ta: UUID, key: bytes) -> int:
        """A key of 32 bytes: its number. Raises TeeError: BAD_PARAMETERS, OUT_OF_MEMORY."""
        if len(key) != KEY:
            raise TeeError(Result.BAD_PARAMETERS, Origin.TEE)
        if len(self._keys) >= MAX_KEYS:
            raise TeeError(Result.OUT_OF_MEMORY, Origin.TEE)
        self._last += 1
        self._keys[self._last] = ta, key
        return self._last

    def authenticate(self, place: Place, ta: UUID, number: int, data: bytes) -> bytes:
        """HMAC-SHA-256 with a key of the TA's. Raises TeeError: ITEM_NOT_FOUND, EXCESS_DATA."""
        key = self._find(ta, number)
        return self.accelerator.authenticate(place, (self._bank, number), key, data)

    def remove(self, place: Place, ta: UUID, number: int) -> None:
        """A key is no more. Raises TeeError (ITEM_NOT_FOUND)."""
        self._find(ta, number)
        del self._keys[number]
        self.accelerator.erase(place, self._bank, number)

    def forget(self, place: Place) -> None:
        """The VM is gone."""
        self._keys.clear()
        self.accelerator.erase(place, self._bank)

    def _find(self, ta: UUID, number: int) -> bytes:
        owner, key = self._keys.get(number, (None, b""))
        if owner != ta:
            raise TeeError(Result.ITEM_NOT_FOUND, Origin.TEE)
        return key


class Engine:
    """The accelerator as a session of ``ta`` has it, on the vCPU where it is served."""

    def __init__(self, keys: Keys, place: Place, ta: UUID) -> None:
        self._keys = keys
        self._place = place
        self._ta = ta

    def digest(self, data: bytes) -> bytes:
        """SHA-256 of up to 4 KiB. Raises TeeError (EXCESS_DATA)."""
        return self._keys.accelerator.digest(self._place, data)

    def add_key(self, key: bytes) -> int:
        """A key of 32 bytes for all sessions of the TA: its number."""
        return self._keys.add(self._ta, key)

    def authenticate(self, number: int, data: bytes) -> bytes:
        """HMAC-SHA-256 of up to 4 KiB with a key. Raises TeeError: ITEM_NOT_FOUND, EXCESS_DATA."""
        return self._keys.authenticate(self._place, self._ta, number, data)

    def remove_key(self, number: int) -> None:
        """A key is no more. Raises TeeError (ITEM_NOT_FOUND)."""
        self._keys.remove(self._place, self._ta, number)
