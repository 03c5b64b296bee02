"""OP-TEE as a secure partition, virtualized: a bank for each VM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar
from uuid import UUID

from ffabric.abi.optee.message import Fmem, Type, Value
from ffabric.abi.optee.tee import Result
from ffabric.guests.ffa import Ffa
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.normal_world.driver import Driver
from ffabric.guests.optee.tas.ta import Params, TaSession, TrustedApp
from ffabric.lab.demo.stage import Stage
from ffabric.lab.demo.vms import Actor, DemoFailed, expect
from ffabric.system.description.python import describe
from ffabric.system.spec import SystemSpec

DEPOSIT, STATEMENT = 0, 1


class Savings(TrustedApp):
    """A TA that keeps an account for each session."""

    uuid = UUID("5a76a0b2-0f2c-4c8e-9d5a-6d0f6f1f7a01")

    async def open_session(self, session: TaSession, params: Params) -> None:
        """An empty account."""
        session.context = 0

    async def invoke(self, session: TaSession, command: int, params: Params) -> None:
        """Take a deposit, or write a statement."""
        if command == DEPOSIT:
            params.expect(Type.VALUE_INOUT)
            session.context += params.value(0).a
            params.value(0).a = session.context
        elif command == STATEMENT:
            params.expect(Type.FMEM_OUTPUT)
            params.memref(0).write(f"balance: {session.context}".encode())
        else:
            raise TeeError(Result.NOT_SUPPORTED)


class Customer(Actor):
    """A VM with OP-TEE's driver."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.session = 0
        self.balance = 5
        """What the session has when it has been opened; then, what it must have."""
        self.stranger = 0
        """A session of another VM."""

    async def main(self, ffa: Ffa) -> None:
        """Play a part when woken for it, once."""
        while True:
            await ffa.idle()
            part, self.scene = self.scene, ""
            if part:
                await getattr(self, part)(ffa)

    async def account(self, ffa: Ffa) -> None:
        """Find OP-TEE, open an account, and pay in."""
        self.tee = Driver(ffa)
        found = await self.tee.probe()
        self.session = await self.tee.open_session(Savings.uuid)
        expect("balance", await self.deposit(self.session, 5), 5)
        version = ".".join(map(str, found.version))
        self.notes.append(f"{self.name}: OP-TEE {version}, a session, a balance of 5")

    async def statement(self, ffa: Ffa) -> None:
        """The TA writes to memory that is shared for it, and taken back."""
        memory = await self.tee.allocate(64)
        (text,) = await self.tee.invoke(self.session, STATEMENT, memory.output())
        assert isinstance(text, Fmem)
        said = memory.read(text.size).decode()
        expect("statement", said, "balance: 5")
        await self.tee.free(memory)
        await self.tee.close_session(self.session)
        self.notes.append(f"the TA has written {said!r} to memory that was shared and taken back")
        self.session = await self.tee.open_session(Savings.uuid)
        expect("balance", await self.deposit(self.session, 5), 5)

    async def intrude(self, ffa: Ffa) -> None:
        """A session that is not one's own does not exist."""
        try:
            await self.deposit(self.stranger, 1)
        except TeeError as error:
            expect("result", error.result, Result.BAD_PARAMETERS)
            self.notes.append(f"{self.name} names session {self.stranger} of alice: {error}")
        else:
            raise DemoFailed("a VM has used the session of another one")

    async def survive(self, ffa: Ffa) -> None:
        """Life goes on."""
        self.balance += 1
        expect("balance", await self.deposit(self.session, 1), self.balance)

    async def deposit(self, session: int, amount: int) -> int:
        """The balance after it."""
        (answer,) = await self.tee.invoke(session, DEPOSIT, Value(Type.VALUE_INOUT, amount))
        assert isinstance(answer, Value)
        return answer.a


def system() -> SystemSpec:
    """Two VMs and an OP-TEE for both."""
    vms = [Customer("alice"), Customer("bob")]
    return describe(name="trusted", pes=2, sps=[OpTee(Savings, vms=2)], vms=vms)


class Trusted(Stage):
    """Alice uses OP-TEE; bob does, too; bob dies."""

    describe = staticmethod(system)

    def _cue(self, **parts: str) -> Iterator[str]:
        """Let VMs play their parts, at the same time; what they have to tell of it."""
        actors = {name: self.software(name) for name in parts}
        for name, actor in actors.items():
            actor.scene = parts[name]
            self.system.wake_vm(name)
        self.run()
        for name, actor in actors.items():
            expect(f"parts that {name} has missed", actor.scene, "")
            yield from actor.notes
            actor.notes = []

    def probe(self) -> Iterator[str]:
        """One VM."""
        self.run()
        yield from self._cue(alice="account")

    def invoke(self) -> Iterator[str]:
        """One VM, which passes memory to a TA."""
        yield from self._cue(alice="statement")

    def banks(self) -> Iterator[str]:
        """Two VMs at the same time."""
        yield from self._cue(alice="survive", bob="account")
        banks = self.software("optee").banks
        expect("banks", list(banks), [self.system.resolve(name) for name in ("alice", "bob")])
        yield "OP-TEE has a bank for each VM; alice's balance is 6, bob's 5"

    def stranger(self) -> Iterator[str]:
        """A VM after another one's session."""
        alice, bob = self.software("alice"), self.software("bob")
        expect(
            "whether the sessions have other numbers", alice.session != bob.session, expected=True
        )
        bob.stranger = alice.session
        yield from self._cue(bob="intrude")

    def end(self) -> Iterator[str]:
        """A VM dies with a session open and memory shared."""
        core = self.software("optee")
        expect("banks", len(core.banks), 2)
        shared = len(self.system.firmware.spmc.regions.live)
        self.system.destroy_vm("bob")
        self.run()
        expect("banks", list(core.banks), [self.system.resolve("alice")])
        left = len(self.system.firmware.spmc.regions.live)
        expect("shared regions, without bob's", left, shared - 1)
        yield from self._cue(alice="survive")
        yield "bob's bank is forgotten, and what he had shared is relinquished"
        yield "alice's session does not notice: her balance goes from 6 to 7"

    scenes: ClassVar = {
        "optee": ("OP-TEE is an SP; alice opens a session of a TA", probe),
        "invoke": ("alice shares memory with the TA, closes the session, opens another", invoke),
        "banks": ("One OP-TEE, two VMs: each its bank", banks),
        "stranger": ("bob tries a session of alice", stranger),
        "forgotten": ("bob is destroyed, and OP-TEE forgets him", end),
    }
