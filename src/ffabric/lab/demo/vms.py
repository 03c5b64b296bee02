"""Three virtual machines in Python. Each plays its part of a scene when the scene begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeVar

from ffabric.abi import psci
from ffabric.abi.ffa import notifications
from ffabric.abi.ffa.memory_words import PERM_DATA_RW, PERM_INSTRUCTION_NX, PERM_INSTRUCTION_X
from ffabric.abi.ffa.partition_info import PartitionInfo
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import MASK64, PAGE
from ffabric.guests.calls.messages import DirectMessage
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.partition import Partition
from ffabric.lab.demo.sps import ABACUS, ADDER, GIVE_BACK, NOTARY, SEAL, TAKE, VAULT
from ffabric.machine.access import DataAbort

BLOCK = 2 << 20
RW = PERM_DATA_RW
RW_NX = PERM_DATA_RW | PERM_INSTRUCTION_NX
ROUNDS = 3
SUMS = 8

Answer = TypeVar("Answer")


def page(ffa: Ffa, value: int) -> int:
    """The IPA of a page that begins with a value."""
    ipa = ffa.ram.allocate()
    ffa.memory.write64(ipa, value)
    return ipa


def two_pages(ffa: Ffa, value: int) -> int:
    """The IPA of two pages in a row, one on each side of a 2 MiB boundary.

    The blocks of a VM's memory are not in a row in physical memory, nor are these pages.
    """
    first = ffa.ram.allocate(BLOCK // PAGE + 1)
    ipa = (first // BLOCK + 1) * BLOCK - PAGE
    ffa.memory.write64(ipa, value)
    return ipa


class DemoFailed(AssertionError):  # noqa: N818 - what an assertion says
    """Something in the demo is not as it must be."""


def expect(what: str, got: object, expected: object) -> None:
    """Every step checks itself."""
    if got != expected:
        raise DemoFailed(f"{what}: {got!r}, expected {expected!r}")


async def insist(ffa: Ffa, call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Make a call until its receiver is not BUSY with somebody else's."""
    while True:
        try:
            return await call()
        except FfaError as error:
            if error.status is not Status.BUSY:
                raise
        await ffa.yield_()


class Actor(Partition):
    """A VM that has a part in some scenes: the methods that are called like the scenes.

    Between them it waits for an interrupt. ``notes`` is what it has to tell about a scene.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scene = ""
        self.notes: list[str] = []
        self.known: dict[str, PartitionInfo] = {}

    async def main(self, ffa: Ffa) -> None:
        """Play every scene."""
        played = ""
        while True:
            if self.scene != played:
                played = self.scene
                part = getattr(self, played, None)
                if part is not None:
                    await part(ffa)
            await ffa.idle()

    async def discovery(self, ffa: Ffa) -> None:
        """Find out who is there: one call, the answer in RX."""
        await ffa.negotiate(ffa.version)
        await ffa.map_buffers()
        await self.learn(await ffa.partition_info())

    async def learn(self, found: list[PartitionInfo]) -> None:
        """Remember who offers which service."""
        services = {VAULT: "vault", NOTARY: "notary", ADDER: "adder", ABACUS: "abacus"}
        self.known = {services[each.uuid]: each for each in found if each.uuid in services}
        known = ", ".join(f"{name} is {each.id:#06x}" for name, each in self.known.items())
        self.notes.append(f"{self.name} knows: {known}")

    async def ask(self, ffa: Ffa, who: str, *payload: int) -> DirectMessage:
        """A direct request to a partition that was discovered."""
        receiver = self.known[who].id

        def request() -> Awaitable[DirectMessage]:
            return ffa.direct_request(receiver, *payload)

        return await insist(ffa, request)


class Alice(Actor):
    """A VM with a vCPU on every PE."""

    name = "alice"
    manifest: ClassVar[dict[str, object]] = {"execution_ctx_count": 8}

    def __init__(self) -> None:
        super().__init__()
        self.products: dict[int, int] = {}
        """How many answers of the vault each vCPU had."""

    async def main(self, ffa: Ffa) -> None:
        """The first vCPU plays the scenes, the others help in one."""
        if ffa.vcpu.index == 0:
            await super().main(ffa)
        await self.multiply(ffa)
        await ffa.call(psci.CPU_OFF)

    async def messages(self, ffa: Ffa) -> None:
        """Direct messages to images at two exception levels and through a chain; a letter."""
        for who, what in (("adder", "S-EL1"), ("abacus", "S-EL0")):
            answer = await self.ask(ffa, who, 40, 2)
            expect(f"40 + 2 by {who}", answer.payload[0], 42)
            self.notes.append(f"{who}, an AArch64 image at {what}, says that 40 + 2 is 42")
        answer = await self.ask(ffa, "notary", 3)
        expect("1 + 2 + 3 by the notary", answer.payload[0], 6)
        self.notes.append("the notary asked the adder for alice: 1 + 2 + 3 is 6")
        await insist(ffa, lambda: ffa.send2("bob", b"dear bob"))

    async def crowd(self, ffa: Ffa) -> None:
        """Start the other vCPUs; all ask the vault, which has a vCPU on each PE, too."""
        for affinity in ffa.vcpu.affinities[1:]:
            await ffa.call(psci.CPU_ON_64, affinity, ffa.vcpu.entry, 0)
        await self.multiply(ffa)

    async def multiply(self, ffa: Ffa) -> None:
        """Ask the vault and the adder, which has one vCPU for all."""
        index = ffa.vcpu.index
        vault = self.known["vault"].id
        for n in range(ROUNDS):
            product = await ffa.direct_request2(vault, index + 2, n, uuid=VAULT)
            expect("product and vCPU", product.payload[:2], ((index + 2) * n, index))
            total = await self.ask(ffa, "adder", index, n)
            expect("sum", total.payload[0], index + n)
            self.products[index] = self.products.get(index, 0) + 1

    async def memory(self, ffa: Ffa) -> None:
        """Share, lend and donate; what is shared and lent comes back."""
        vault = self.known["vault"].id
        ipa = two_pages(ffa, 0xA11CE)
        shared = await ffa.share(vault, ipa=ipa, pages=2)
        answer = await self.ask(ffa, "vault", TAKE, shared, RW)
        expect("what the vault reads", answer.payload[0], 0xA11CE)
        expect("what the vault wrote", ffa.memory.read(ipa, len(SEAL)), SEAL)
        self.notes.append(
            f"shared: {ipa:#x} of alice is {answer.payload[1]:#x} to the vault; both see its seal"
        )
        await self.ask(ffa, "vault", GIVE_BACK, shared)
        await ffa.reclaim(shared)

        lent = await ffa.lend(vault, ipa=ipa, pages=1)
        answer = await self.ask(ffa, "vault", TAKE, lent, RW_NX)
        expect("access to lent memory", _reaches(ffa, ipa), expected=False)
        await self.ask(ffa, "vault", GIVE_BACK, lent)
        await ffa.reclaim(lent)
        expect("access to reclaimed memory", _reaches(ffa, ipa), expected=True)
        ffa.memory.write64(ipa, 0xA11CE)
        self.notes.append("lent: alice faults there while the vault has it")
        self.notes.append("reclaimed: a reclaim restores what she had, she reads and writes there")

        donated = await ffa.donate(vault, ipa=ipa, pages=1)
        await self.ask(ffa, "vault", TAKE, donated, RW_NX)
        expect("access to donated memory", _reaches(ffa, ipa), expected=False)
        self.notes.append("donated: the page is the vault's for good")

    async def refusals(self, ffa: Ffa) -> None:
        """Memory that is lent is not executable, not one's own, and not back before it is."""
        ipa = page(ffa, 1)
        lent = await ffa.lend(self.known["vault"].id, ipa=ipa, pages=1)
        for permissions in (RW, RW | PERM_INSTRUCTION_X):
            answer = await self.ask(ffa, "vault", TAKE, lent, permissions)
            expect("status", answer.payload[0], Status.INVALID_PARAMETERS & MASK64)
        self.notes.append(
            "instruction access not specified, or asked for: refused, never executable"
        )
        await self.ask(ffa, "vault", TAKE, lent, RW_NX)
        await refused(ffa.share("bob", ipa=ipa, pages=1), Status.DENIED)
        await refused(ffa.reclaim(lent), Status.DENIED)
        await self.ask(ffa, "vault", GIVE_BACK, lent)
        await ffa.reclaim(lent)

    async def death(self, ffa: Ffa) -> None:
        """Meanwhile life goes on."""
        for n in range(ROUNDS):
            answer = await self.ask(ffa, "abacus", n, n)
            expect("2n", answer.payload[0], 2 * n)


class Bob(Actor):
    """A VM with one vCPU, which does not live to see the end."""

    name = "bob"

    async def discovery(self, ffa: Ffa) -> None:
        """What partitions there are, with answers in registers."""
        await ffa.map_buffers()
        await self.learn(await ffa.partition_info_regs())

    async def messages(self, ffa: Ffa) -> None:
        """A letter to an SP, and one from a VM."""
        await insist(ffa, lambda: ffa.send2(self.known["notary"].id, b"dear notary"))
        flags = notifications.GET_FROM_SPM | notifications.GET_FROM_HYPERVISOR
        while not (await ffa.notification_get(flags))[2]:
            await ffa.yield_()
        letter = await ffa.receive()
        self.notes.append(f"bob has a letter of VM {letter.sender}: {letter.payload.decode()!r}")

    async def crowd(self, ffa: Ffa) -> None:
        """The abacus is asked, too."""
        for n in range(ROUNDS):
            answer = await self.ask(ffa, "abacus", n, n)
            expect("2n", answer.payload[0], 2 * n)

    async def refusals(self, ffa: Ffa) -> None:
        """A page is the smallest thing to share."""
        ipa = page(ffa, 1)
        await refused(ffa.share("alice", ipa=ipa + 0x800, pages=1), Status.INVALID_PARAMETERS)

    async def death(self, ffa: Ffa) -> None:
        """Lend something, ask for something that takes its time, and never hear the answer."""
        lent = await ffa.lend(self.known["vault"].id, ipa=page(ffa, 0xB0B), pages=1)
        answer = await self.ask(ffa, "vault", TAKE, lent, RW_NX)
        expect("what the vault reads", answer.payload[0], 0xB0B)
        await self.ask(ffa, "notary", SUMS)
        raise DemoFailed("bob was destroyed, and yet he goes on")


class Carol(Actor):
    """A VM that is created where another one was."""

    name = "carol"

    async def heir(self, ffa: Ffa) -> None:
        """Nothing of anybody is in her memory."""
        await self.learn(await ffa.partition_info_regs())
        for ipa in range(ffa.ram.base, ffa.ram.base + ffa.ram.size, BLOCK):
            expect("fresh memory", ffa.memory.read(ipa, BLOCK) == bytes(BLOCK), expected=True)
        answer = await self.ask(ffa, "adder", 19, 23)
        expect("19 + 23", answer.payload[0], 42)
        self.notes.append("her memory is clean, and the adder answers her: 19 + 23 is 42")


def _reaches(ffa: Ffa, ipa: int) -> bool:
    """Whether a load there succeeds."""
    try:
        ffa.memory.read(ipa, 8)
    except DataAbort:
        return False
    return True


async def refused(call: Awaitable[Any], status: Status) -> None:
    """The call must be refused with a status."""
    try:
        await call
    except FfaError as error:
        expect("status", error.status, status)
    else:
        raise DemoFailed("a call was not refused")
