"""The partitions of the demo that are written in Python."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from ffabric.abi.ffa import memory
from ffabric.guests.ffa import DirectMessage, Ffa, FfaError
from ffabric.guests.partition import Partition

VAULT = UUID("6f1c2f8e-9d0b-4f0a-8a3e-0f5d2b7c1a01")
NOTARY = UUID("6f1c2f8e-9d0b-4f0a-8a3e-0f5d2b7c1a02")
PAGE = 4096

LOOK, LEAVE, KEEP = range(3)
"""What the vault is asked to do with memory: read and answer it, hold it, own it."""

_PERMISSIONS = {
    memory.FLAG_TYPE_SHARE: memory.PERM_DATA_RW,
    memory.FLAG_TYPE_LEND: memory.PERM_DATA_RW | memory.PERM_INSTRUCTION_NX,
    memory.FLAG_TYPE_DONATE: memory.PERM_DATA_RW | memory.PERM_INSTRUCTION_NX,
}


class DemoFailed(AssertionError):  # noqa: N818 - what an assertion says
    """A partition of the demo saw something that must not be."""


def expect(what: str, got: object, wanted: object) -> None:
    """A step of the demo checks itself."""
    if got != wanted:
        raise DemoFailed(f"{what}: got {got!r}, expected {wanted!r}")


class Vault(Partition):
    """An MP secure partition at S-EL1: takes memory from VMs, adds up its bytes, gives it back."""

    name = "vault"
    uuid = VAULT
    manifest: ClassVar[dict[str, object]] = {"execution_ctx_count": 8, "boot_order": 0}

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """(what to do, handle, transaction type) -> (sum of the bytes, pages)."""
        what, handle, kind, *_ = request.payload
        got = await ffa.retrieve(handle, request.sender, permissions=_PERMISSIONS[kind], flags=kind)
        pages = sum(count for _, count in got.ranges)
        total = sum(sum(ffa.memory.read(ipa, count * PAGE)) for ipa, count in got.ranges)
        ffa.memory.write(got.ipa, b"seen by the vault")
        if what != KEEP:
            await ffa.relinquish(handle)
        return request.respond(total, pages)


class Notary(Partition):
    """A UP secure partition: slow to answer, reads indirect messages, hears of VMs' lives."""

    name = "notary"
    uuid = NOTARY
    manifest: ClassVar[dict[str, object]] = {
        "boot_order": 1,
        "notification_support": True,
        "vm_availability_messages": 3,
    }

    async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
        """Think for ``payload[0]`` calls, then answer."""
        for _ in range(request.payload[0]):
            await ffa.id_get()
        return request.respond(request.payload[0])

    async def on_run(self, ffa: Ffa) -> None:
        """The scheduler gives it cycles because a message waits."""
        pending = await ffa.notification_get(0xF)
        if pending[2]:
            message = await ffa.receive()
            text = message.payload.decode()
            await ffa.console_log(f"read of VM {message.sender}: {text}\n")

    async def on_boot(self, ffa: Ffa) -> None:
        """Messages need buffers."""
        await ffa.map_buffers()


class Alice(Partition):
    """A VM that uses every service and gives every kind of memory."""

    name = "alice"

    async def main(self, ffa: Ffa) -> None:
        """Her story."""
        await ffa.negotiate(ffa.version)
        found = {info.id: info for info in await ffa.partition_info()}
        (vault,) = await ffa.partition_info(VAULT)
        (notary,) = await ffa.partition_info(NOTARY)
        sps = sorted(each for each in found if each & 0x8000)
        expect("SPs found", len(sps), 4)
        for adder in sps[2:]:
            answer = await ffa.direct_request(adder, 40, 2)
            expect("40 + 2", answer.payload[0], 42)
        await self.memory(ffa, vault.id)
        await self.refused(ffa, vault.id)
        await ffa.send2(notary.id, b"please witness this")
        await ffa.console_log("done\n")

    async def memory(self, ffa: Ffa, vault: int) -> None:
        """Share, lend and donate pages that are contiguous for her but not in memory."""
        first = ffa.ram.allocate(1024)
        base = (first + (1 << 21) - 1) & ~((1 << 21) - 1)
        ipa = base - PAGE
        ffa.memory.write(ipa, bytes([1]) * (2 * PAGE))
        handle = await ffa.share(vault, ipa=ipa, pages=2)
        answer = await ffa.direct_request(vault, LOOK, handle, memory.FLAG_TYPE_SHARE)
        expect("bytes shared", answer.payload[:2], (2 * PAGE, 2))
        expect("what the vault wrote", ffa.memory.read(ipa, 17), b"seen by the vault")
        await ffa.reclaim(handle)
        handle = await ffa.lend(vault, ipa=ipa, pages=1)
        answer = await ffa.direct_request(vault, LEAVE, handle, memory.FLAG_TYPE_LEND)
        expect("pages lent", answer.payload[1], 1)
        await ffa.reclaim(handle)
        handle = await ffa.donate(vault, ipa=ipa, pages=1)
        answer = await ffa.direct_request(vault, KEEP, handle, memory.FLAG_TYPE_DONATE)
        expect("pages donated", answer.payload[1], 1)

    async def refused(self, ffa: Ffa, vault: int) -> None:
        """A call that the hypervisor must refuse."""
        try:
            await ffa.share(vault, ipa=0x40000800, pages=1)
        except FfaError as error:
            await ffa.console_log(f"refused, as it must be: {error.status.name}\n")
        else:
            raise DemoFailed("a share from the middle of a page was not refused")


class Bob(Partition):
    """A VM that lends memory, asks the notary for something long, and does not live to hear it."""

    name = "bob"

    async def main(self, ffa: Ffa) -> None:
        """His story."""
        await ffa.negotiate(ffa.version)
        (vault,) = await ffa.partition_info(VAULT)
        (notary,) = await ffa.partition_info(NOTARY)
        ipa = ffa.ram.allocate(4)
        await ffa.lend(vault.id, ipa=ipa, pages=4)
        await ffa.console_log("asking the notary\n")
        await ffa.direct_request(notary.id, 16)
        raise DemoFailed("bob was destroyed, and yet went on")
