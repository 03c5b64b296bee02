"""A virtualized OP-TEE below EL3 for the scenarios of faults, and VMs that call it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ffabric.abi.optee import message as wire
from ffabric.abi.optee import smc
from ffabric.abi.optee.message import Command, Message, Param, Type
from ffabric.abi.words import MASK32, PAGE, halves
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.normal_world.driver import meta
from ffabric.guests.optee.tas.ta import Params, TaSession, TrustedApp
from ffabric.lab.faults.stage import Side, Stage
from ffabric.lab.invariants.invariants import OPTEE, Invariants
from ffabric.system.description.python import trusted_os, vm

ADD, REST = range(2)
"""What the TA does: add to a number that is the session's own; let the normal world run."""
_MEMORY = 16 << 20


class Sums(TrustedApp):
    """A TA that keeps a number for each session."""

    uuid = UUID("5b1fa4b2-0002-4c4a-8d5c-52fd2b2b4d01")

    async def open_session(self, session: TaSession, params: Params) -> None:
        """Begin with nothing."""
        session.context = 0

    async def invoke(self, session: TaSession, command: int, params: Params) -> None:
        """`ADD` or `REST`."""
        if command == REST:
            await session.thread.interrupted()
            return
        params.expect(Type.VALUE_INOUT)
        session.context += params.value(0).a
        params.value(0).a = session.context


class Client:
    """A VM that calls OP-TEE, one message at a time."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._message = side.page()

    def ask(self, command: int, *params: Param, function: int = ADD, session: int = 0) -> int:
        """CALL_WITH_ARG: a0, after which `answer` is the message as OP-TEE has left it."""
        message = Message(command, function, session, params=params)
        self.side.memory.write(self._message, wire.build_message(message))
        low, high = halves(self._message)
        return self.side.call(smc.CALL_WITH_ARG, high, low)[0] & MASK32

    @property
    def answer(self) -> Message:
        """The message where the VM has it."""
        data = self.side.memory.read(self._message, PAGE)
        return wire.parse_message(data, registered=True)

    def open(self) -> int:
        """A session with the TA."""
        assert self.ask(Command.OPEN_SESSION, *meta(Sums.uuid)) == smc.Return.OK
        assert not self.answer.ret
        return self.answer.session

    def resume(self, thread: int) -> int:
        """RETURN_FROM_RPC: a0."""
        return self.side.call(smc.RETURN_FROM_RPC, 0, 0, thread)[0] & MASK32


def boot(stage: Stage) -> tuple[Client, Client]:
    """Two clients, "alice" and "bob", of one OP-TEE, judged by the invariant ``optee``."""
    fields: dict[str, Any] = {
        "vms": [vm(name, mem_size=_MEMORY) for name in ("alice", "bob")],
        "trusted_os": trusted_os(OpTee.below_el3(Sums, vms=2)),
    }
    system = stage.boot(**fields)
    Invariants(system, OPTEE)
    return Client(stage.side(system, "alice")), Client(stage.side(system, "bob"))
