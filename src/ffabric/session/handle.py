"""A partition as a test holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ffabric.session.ffa import BlockingFfa

if TYPE_CHECKING:
    from ffabric.machine.access import GuestAccess
    from ffabric.machine.engines.driven import DrivenRunner
    from ffabric.system.endpoint import Endpoint
    from ffabric.system.vcpu import Ram


class Handle:
    """A partition as a test holds it. ``ffa`` drives its first vCPU, ``vcpu(n)`` another."""

    def __init__(self, endpoint: Any) -> None:
        self.endpoint: Any = endpoint
        """What is inside: private, and may change."""
        self._calls: dict[int, BlockingFfa] = {}

    @property
    def _inside(self) -> Endpoint:
        endpoint: Endpoint = self.endpoint
        return endpoint

    @property
    def id(self) -> int:
        """The endpoint id."""
        return self._inside.id

    @property
    def name(self) -> str:
        """The partition's name."""
        return self._inside.name

    @property
    def software(self) -> Any:
        """The Python object that is the partition's software."""
        return self.endpoint.software

    @property
    def memory(self) -> GuestAccess:
        """Loads and stores through the partition's stage-2. Raises Closed after the system."""
        self._inside.system.check_open()
        return self._inside.memory

    @property
    def ram(self) -> Ram:
        """The partition's free pages."""
        return self._inside.ram

    @property
    def ffa(self) -> BlockingFfa:
        """The FF-A calls of its first vCPU."""
        return self.vcpu(0)

    def vcpu(self, index: int) -> BlockingFfa:
        """The FF-A calls of vCPU ``index``. Raises LookupError if there is no such vCPU."""
        calls = self._calls.get(index)
        if calls is None:
            contexts = self._inside.partition.contexts
            if not isinstance(index, int) or not 0 <= index < len(contexts):
                has = f"{self.name} has {len(contexts)}"
                raise LookupError(f"there is no vCPU {index!r}: {has}, counted from 0")
            vcpu = self._inside.vcpu(contexts[index])
            vcpu.endpoint = self.id
            calls = self._calls[index] = BlockingFfa(vcpu, lambda: self._take(index))
        return calls

    def _take(self, index: int) -> DrivenRunner:
        return self._inside.take(index)

    def __repr__(self) -> str:
        kind = {"vm": "VM", "sp": "SP"}.get(self._inside.spec.kind, "trusted OS")
        return f"<{kind} {self.name} {self.id:#06x}>"
