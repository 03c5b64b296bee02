"""A trusted OS in Python, called as OP-TEE is: SMCs that the dispatcher at EL3 passes on."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from types import coroutine

from ffabric.abi.optee import smc
from ffabric.machine import exits
from ffabric.system.vcpu import Vcpu

VECTORS = 0
"""Where its vector table is said to be: a program in Python has no addresses."""
_POWER = {
    smc.VECTOR_CPU_OFF: ("cpu_off", smc.RETURN_OFF_DONE),
    smc.VECTOR_SYSTEM_OFF: ("system_off", smc.RETURN_SYSTEM_OFF_DONE),
    smc.VECTOR_SYSTEM_RESET: ("system_reset", smc.RETURN_SYSTEM_RESET_DONE),
}
"""Offset of a vector -> what is about to happen, and the SMC that lets it."""


class TrustedOs:
    """Subclass it and answer calls. One object serves all PEs."""

    name = "trusted-os"

    async def program(self, vcpu: Vcpu, entry: int, x0: int) -> None:
        """The program of a vCPU: ready, then call after call."""
        ready = smc.RETURN_ON_DONE if vcpu.index else smc.RETURN_ENTRY_DONE
        returned: Sequence[int] = (ready, VECTORS)
        x = vcpu.x
        vcpu.mask_interrupts()
        while True:
            x[:] = [*returned, *[0] * (18 - len(returned))]
            await _return()
            if vcpu.pc == VECTORS + smc.VECTOR_FIQ:
                await self.on_fiq(vcpu)
                returned = (smc.RETURN_FIQ_DONE,)
            elif vcpu.pc - VECTORS in _POWER:
                what, done = _POWER[vcpu.pc - VECTORS]
                await self.on_power(what, vcpu)
                returned = (done, 0)
            else:
                answer = await self.on_call(x[0:8], vcpu)
                returned = (smc.RETURN_CALL_DONE, *answer)

    async def vector(self, vcpu: Vcpu, kind: int) -> None:
        """Never called: interrupts are masked, and wait until it returns."""

    async def on_call(self, x: list[int], vcpu: Vcpu) -> Sequence[int]:
        """Answer the call in a0 to a7 with a0 to a3."""
        return (smc.Return.UNKNOWN_FUNCTION, 0, 0, 0)

    async def on_fiq(self, vcpu: Vcpu) -> None:
        """A secure interrupt has come while the normal world ran."""

    async def on_power(self, what: str, vcpu: Vcpu) -> None:
        """The PE ("cpu_off") or the system ("system_off", "system_reset") is about to go off."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


@coroutine
def _return() -> Generator[int, None, None]:
    """Return to EL3, until it enters again."""
    yield exits.SMC
