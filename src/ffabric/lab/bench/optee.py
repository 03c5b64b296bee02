"""A TA of the OP-TEE core in Python, and clients that use it from a VM."""

from __future__ import annotations

from uuid import UUID

from ffabric.abi.optee.message import Type, Value
from ffabric.abi.words import PAGE
from ffabric.guests.ffa import Ffa
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.normal_world.driver import Driver
from ffabric.guests.optee.tas.ta import Params, TaSession, TrustedApp
from ffabric.lab.bench.benchmark import Rig
from ffabric.lab.bench.rigs import between
from ffabric.lab.bench.software import Client, Meter


class Adder(TrustedApp):
    """Adds the words of a value, or looks at the first byte of its memory."""

    uuid = UUID("6f1c2f8e-9d0b-4f0a-8a3e-0f5d2b7c1b01")

    async def invoke(self, session: TaSession, command: int, params: Params) -> None:
        """The sum in the first word; nothing with memory."""
        if command:
            params.memref(0).read()
        else:
            value = params.value(0)
            value.a += value.b


class Invoker(Client):
    """Invokes the TA with a value in a session that stays open."""

    async def prepare(self, ffa: Ffa) -> None:
        """Open the session."""
        self.tee = Driver(ffa)
        await self.tee.probe()
        self.session = await self.tee.open_session(Adder.uuid)

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """So many sums."""
        for number in range(count):
            await self.tee.invoke(self.session, 0, Value(Type.VALUE_INOUT, number, 2))


class Opener(Invoker):
    """Opens a session for each sum, and closes it."""

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """So many sessions."""
        tee = self.tee
        for number in range(count):
            session = await tee.open_session(Adder.uuid)
            await tee.invoke(session, 0, Value(Type.VALUE_INOUT, number, 2))
            await tee.close_session(session)


class Sharer(Invoker):
    """Shares a page, lets the TA read it, and takes it back."""

    async def rounds(self, ffa: Ffa, count: int) -> None:
        """So many pages."""
        for _ in range(count):
            memory = await self.tee.allocate(PAGE)
            await self.tee.invoke(self.session, 1, memory.input())
            await self.tee.free(memory)


def calls(client: type[Client]) -> Rig:
    """A client in a VM with an OP-TEE that serves each VM apart."""
    return between("vm", client(Meter()), OpTee(Adder, vms=1))
