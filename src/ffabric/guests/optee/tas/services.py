"""What OP-TEE does for the TAs of a bank, beside calling them: keys, time, random numbers.

(GlobalPlatform TEE Internal Core API 1.3, chapters 4.4, 6.9 and 7.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from ffabric.abi.optee.tee import Result
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.heap import Heap
from ffabric.guests.optee.storage.objects import Storage
from ffabric.guests.optee.storage.sealing import derived
from ffabric.guests.optee.tas.accelerator import Accelerator, Engine, Keys
from ffabric.guests.optee.tas.rng import Generator
from ffabric.machine.clock import FREQUENCY

if TYPE_CHECKING:
    from ffabric.guests.optee.place import Place
    from ffabric.guests.optee.threads import Thread

COUNTER: Final = "CNTVCT_EL0"
MILLISECONDS: Final = 1000
OF_THE_TEE: Final[dict[str, Any]] = {
    "gpd.tee.apiversion": "GP 1.3.1",
    "gpd.tee.description": "ffabric: OP-TEE in Python",
    "gpd.tee.internalCore.version": 0x0103_0100,
    "gpd.tee.systemTime.protectionLevel": 100,
    "gpd.tee.TAPersistentTime.protectionLevel": 100,
    "gpd.tee.trustedStorage.antiRollback.protectionLevel": 0,
    "gpd.tee.trustedStorage.rollbackDetection.protectionLevel": 0,
    "gpd.tee.cryptography.ecc": False,
    "gpd.tee.trustedos.manufacturer": "ffabric",
    "gpd.tee.firmware.manufacturer": "ffabric",
}
"""Properties of the implementation (tables 4-12 and 4-13)."""


class Services:
    """The services of a bank. ``huk`` is the hardware unique key, ``seed`` all its randomness.

    ``heap`` is what the bank has of OP-TEE's memory, ``accelerator`` the nexus's, if there is one.
    """

    def __init__(
        self, huk: bytes, seed: bytes, heap: Heap, accelerator: Accelerator | None = None
    ) -> None:
        self.heap: Heap = heap
        self.keys: Keys | None = None if accelerator is None else accelerator.keys()
        self.storage: Storage = Storage(huk, heap)
        self.generator: Generator = Generator(seed)
        self.device: UUID = UUID(bytes=derived(huk, b"device")[:16], version=5)
        self._epochs: dict[UUID, int] = {}

    def engine(self, thread: Thread, ta: UUID) -> Engine:
        """The accelerator for a TA. Raises TeeError (NOT_SUPPORTED) if there is none."""
        if self.keys is None:
            raise TeeError(Result.NOT_SUPPORTED)
        return Engine(self.keys, thread.ffa, ta)

    def forget(self, place: Place) -> None:
        """The VM is gone: nothing of it stays in shared hardware."""
        if self.keys is not None:
            self.keys.forget(place)

    def system_time(self, thread: Thread) -> int:
        """Milliseconds that the PE's counter has counted (TEE_GetSystemTime)."""
        return thread.ffa.vcpu.mrs(COUNTER) * MILLISECONDS // FREQUENCY

    def persistent_time(self, thread: Thread, ta: UUID) -> int:
        """Milliseconds since what a TA has said is 0 (TEE_GetTAPersistentTime).

        Raises TeeError (TIME_NOT_SET) as long as it has said nothing since the boot.
        """
        if ta not in self._epochs:
            raise TeeError(Result.TIME_NOT_SET)
        return self.system_time(thread) + self._epochs[ta]

    def set_persistent_time(self, thread: Thread, ta: UUID, milliseconds: int) -> None:
        """Say what time it is for a TA (TEE_SetTAPersistentTime)."""
        self._epochs[ta] = milliseconds - self.system_time(thread)
