"""OP-TEE's memory, and the part of it that each VM has.

The code and data of OP-TEE itself are not counted, but what VMs can make it keep: instances of TAs
(`TrustedApp.memory` each), shared memory that it knows, data of objects that are open. When a VM
has used up its part, it alone gets OUT_OF_MEMORY.
"""

from __future__ import annotations

from ffabric.abi.optee.tee import Origin, Result
from ffabric.guests.optee.error import TeeError


class Heap:
    """So many bytes, of which some are used."""

    def __init__(self, size: int) -> None:
        self.size: int = size
        self.used: int = 0

    def take(self, count: int) -> None:
        """Use some. Raises TeeError (OUT_OF_MEMORY) if there are not so many left."""
        if self.used + count > self.size:
            raise TeeError(Result.OUT_OF_MEMORY, Origin.TEE)
        self.used += count

    def give(self, count: int) -> None:
        """They are not used any more."""
        self.used -= count
