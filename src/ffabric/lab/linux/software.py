"""What runs beside Linux if nothing else is asked for: an OP-TEE with one TA, and a plain SP."""

from __future__ import annotations

from typing import Final

from ffabric.abi.optee.message import Type
from ffabric.abi.optee.tee import Result
from ffabric.abi.words import MASK32
from ffabric.guests.calls.messages import DirectMessage
from ffabric.guests.ffa import Ffa
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.tas.ta import Params, TaSession, TrustedApp
from ffabric.guests.partition import Partition
from ffabric.system.description.fields import Described
from ffabric.system.description.python import sp
from ffabric.system.description.python_target import target_fields
from ffabric.system.manifest.manifest import ExceptionLevel
from ffabric.system.vcpu import Software

_WORD: Final = 4
CALLS_PER_RING: Final = 100
S_EL2: Final = "s-el2"
S_EL1: Final = "s-el1"


class Adder(TrustedApp):
    """The TA that `teeloop.S` invokes: it adds two words, or 1 to the first word of a memory."""

    uuid = "7a1f5c2e-8d34-4b90-a60e-9c51d82743b6"

    async def invoke(self, session: TaSession, command: int, params: Params) -> None:
        """Command 0: value[0].a becomes a + b. Command 1: the first word of memref[0] grows."""
        if command == 0:
            params.expect(Type.VALUE_INOUT)
            value = params.value(0)
            value.a = value.a + value.b & MASK32
        elif command == 1:
            memory = params.memref(0)
            word = int.from_bytes(memory.read()[:_WORD], "little")
            size = memory.size
            memory.write((word + 1 & MASK32).to_bytes(_WORD, "little"))
            memory.size = size
        else:
            raise TeeError(Result.NOT_SUPPORTED)


class RingingOpTee(OpTee):
    """An OP-TEE that notifies the normal world once for every so many calls that it serves.

    What Linux does then it would do for the interrupt of a device of OP-TEE's: it takes the SRI,
    gets the notification, and calls for the bottom half.
    """

    def __init__(self, threads: int) -> None:
        super().__init__(Adder, threads=threads)
        self._served = 0

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """Serve the call, and ring if it is time."""
        answer = await super().on_direct_request(request, ffa)
        self._served += 1
        if not self._served % CALLS_PER_RING:
            await self.notify(ffa, request.sender)
        return answer


class Echo(Partition):
    """An SP that answers with what it was sent."""

    name = "echo"
    uuid = "c1a2e7b4-5d60-4f39-8a17-2b9e40d6f583"

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """The payload, as it is."""
        return request.respond(*request.payload)


def default_software(cpus: int, spmc: str = S_EL2) -> list[Described]:
    """What there is below an SPMC at that level.

    An OP-TEE with a context and a thread for each of ``cpus``, from all of which Linux calls, and
    an echo; at S-EL1 an SPMC has partitions at S-EL0 alone, and an OP-TEE is none.
    """
    echo = placed(Echo(), spmc)
    return [echo] if spmc == S_EL1 else [sp(RingingOpTee(cpus), vcpus=cpus), echo]


def placed(software: Software, spmc: str) -> Described:
    """An SP where an SPMC at that level has any number of them, if it does not say where it runs.

    That is S-EL0, but for an SPMC at S-EL2.
    """
    if spmc == S_EL2 or "exception_level" in target_fields(software):
        return software
    return sp(software, exception_level=ExceptionLevel.S_EL0)
