"""A VM as a client of OP-TEE: its calls that are under way, and the memory it has given."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.optee.shadow import Guest, RpcShadow, Shadow

Answer = Generator[list[int], list[int], list[int]]
"""Part of a sequence: ends with a0 to a3 for the VM."""


class Call:
    """What a thread of OP-TEE has under way for a VM."""

    def __init__(self, shadow: Shadow) -> None:
        self.shadow = shadow
        self.rpc = 0
        """The RPC that the VM is to serve, 0: none."""
        self.message: RpcShadow | None = None
        """Its message."""


class Client:
    """A VM as a client of OP-TEE. ``on_left`` is called when OP-TEE executes none of its calls."""

    def __init__(self, guest: Guest, on_left: Callable[[Client], None]) -> None:
        self.guest = guest
        self.inside = 0
        """Calls of the VM that OP-TEE is executing."""
        self.threads: dict[int, Call] = {}
        """Thread of OP-TEE -> the call that waits for the VM there."""
        self.cookies: dict[int, RpcShadow] = {}
        """Memory that the VM has given for messages of OP-TEE."""
        self.notified: bool = False
        """It has enabled asynchronous notifications."""
        self.values: int = 0
        """Bits: values that OP-TEE has notified it of, and that it has not fetched."""
        self.probed: bool = False
        """OP-TEE has been told of the RPMB device that the VM has."""
        self._on_left = on_left

    def ask(self, x: list[int]) -> Answer:
        """Make the call in ``x``, a0 to a6, as the VM that it is of."""
        self.inside += 1
        try:
            answer = yield [*x[0:7], *[0] * (7 - len(x[0:7])), self.guest.vm.id]
        finally:
            self.inside -= 1
        if not self.inside:
            self._on_left(self)
        return answer

    def forget(self) -> None:
        """Give everything back: the VM is gone, and this with it."""
        for call in self.threads.values():
            call.shadow.release()
        for shadow in self.cookies.values():
            shadow.release()
        for reference in list(self.guest.kept):
            self.guest.end(reference)
