"""Two secure partitions in Python; the other two of the demo are AArch64 images."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications
from ffabric.abi.ffa.memory_words import PERM_DATA_RW
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import MASK64
from ffabric.guests.calls.memory import Retrieved
from ffabric.guests.calls.messages import DirectMessage
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.partition import Partition

VAULT = UUID("6f1c2f8e-9d0b-4f0a-8a3e-0f5d2b7c1a01")
NOTARY = UUID("6f1c2f8e-9d0b-4f0a-8a3e-0f5d2b7c1a02")
ADDER = UUID("6f1c2f8e-9d0b-4f0a-8a3e-0f5d2b7c1a03")
ABACUS = UUID("6f1c2f8e-9d0b-4f0a-8a3e-0f5d2b7c1a04")

TAKE, GIVE_BACK = 1, 2
"""What the vault is asked to do with memory: (TAKE, handle, permissions), (GIVE_BACK, handle)."""
SEAL = b"sealed by the vault"


class Vault(Partition):
    """Keeps memory for VMs, and multiplies. It has a vCPU on every PE (MP) and runs at S-EL1.

    FFA_MSG_SEND_DIRECT_REQ is about memory, FFA_MSG_SEND_DIRECT_REQ2 about numbers.
    """

    name = "vault"
    uuid = VAULT
    manifest: ClassVar[dict[str, object]] = {
        "execution_ctx_count": 8,
        "vm_availability_messages": 0b10,  # it wants to know which VMs are destroyed
        "boot_order": 0,
    }

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, Retrieved] = {}

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """Answer (a, b) with (a * b, vCPU); do with memory what is asked."""
        if request.function == fid.FFA_MSG_SEND_DIRECT_REQ2:
            a, b, *_ = request.payload
            return request.respond(a * b, ffa.vcpu.index)
        what, handle, permissions, *_ = request.payload
        if what == TAKE:
            try:
                got = await ffa.retrieve(handle, request.sender, permissions=permissions)
            except FfaError as error:
                return request.respond(error.status & MASK64)
            first = ffa.memory.read64(got.ipa)
            if permissions & PERM_DATA_RW:
                ffa.memory.write(got.ipa, SEAL)
            self.kept[handle] = got
            return request.respond(first, got.ipa)
        await ffa.relinquish(handle)
        del self.kept[handle]
        return request.respond(handle)

    async def on_vm_destroyed(self, vm: int, ffa: Ffa) -> None:
        """What a dead VM had given is of no use any more."""
        for handle in [each for each, got in self.kept.items() if got.sender == vm]:
            await ffa.relinquish(handle)
            del self.kept[handle]


class Notary(Partition):
    """Adds up numbers with the help of another SP. It has one vCPU (UP), which moves among PEs."""

    name = "notary"
    uuid = NOTARY
    manifest: ClassVar[dict[str, object]] = {
        "notification_support": True,
        "vm_availability_messages": 0b11,
        "boot_order": 1,
    }

    def __init__(self) -> None:
        super().__init__()
        self.sums = 0
        """Additions made for the present request."""
        self.letters: list[tuple[int, bytes]] = []
        self.vms: list[str] = []

    async def on_boot(self, ffa: Ffa) -> None:
        """Whoever receives indirect messages needs buffers."""
        await ffa.map_buffers()

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """The sum of 1 to n, by asking the adder n times."""
        (adder,) = await ffa.partition_info_regs(ADDER)
        total = self.sums = 0
        while self.sums < request.payload[0]:
            try:
                answer = await ffa.direct_request(adder.id, total, self.sums + 1)
            except FfaError as error:
                if error.status is not Status.BUSY:
                    raise
                await ffa.yield_()  # somebody else asks the adder: the caller may have the PE
                continue
            total = answer.payload[0]
            self.sums += 1
        return request.respond(total)

    async def on_run(self, ffa: Ffa) -> None:
        """The scheduler gives it cycles because something is pending."""
        flags = notifications.GET_FROM_SPM | notifications.GET_FROM_HYPERVISOR
        _, _, framework = await ffa.notification_get(flags)
        if framework & notifications.RX_BUFFER_FULL_HYPERVISOR:
            letter = await ffa.receive()
            self.letters.append((letter.sender, letter.payload))

    async def on_vm_created(self, vm: int, ffa: Ffa) -> None:
        """A client more."""
        self.vms.append(f"+{vm}")

    async def on_vm_destroyed(self, vm: int, ffa: Ffa) -> None:
        """A client less."""
        self.vms.append(f"-{vm}")
