"""Where a thread of OP-TEE is: a vCPU of it, as far as it is the same for both ABIs."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ffabric.machine.access import GuestAccess
    from ffabric.system.vcpu import Vcpu


class Place(Protocol):
    """A vCPU: the FF-A calls of a partition's, or what a trusted OS has."""

    @property
    def vcpu(self) -> Vcpu:
        """Its registers."""

    @property
    def memory(self) -> GuestAccess:
        """Its loads and stores."""

    def console_log(self, text: str) -> Coroutine[int, None, Any]:
        """Print text, of a few lines."""
