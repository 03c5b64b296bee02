"""Android 16: one Trusty, an application of the host, and one in a VM that is started meanwhile.

Trusty is an SP whose devices speak its IPC, one for each client. Over that each application has a
pair of *proxy* and *native*, as binder has them, and memory goes by its handle beside a message.
The VM is protected: the host gives it pages, and does not reach them any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from msgspec import Struct, field

from ffabric.abi.virtio_msg.generations import DEFAULT, Generation
from ffabric.abi.words import PAGE
from ffabric.guests.trusty.binder import Native, Parcel, Proxy
from ffabric.guests.trusty.device import Channel, TipcDevice
from ffabric.guests.trusty.driver import TipcDriver
from ffabric.guests.trusty.memory import Buffer, Memory
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.ffa_bus import DriverBus
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.lab.running import End, run_to_end
from ffabric.lab.virtio_msg.judges.observer import Judges
from ffabric.lab.virtio_msg.judges.rules import Verdict
from ffabric.lab.virtio_msg.tap import Tap
from ffabric.machine.access import DataAbort
from ffabric.session.system import System
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, vm

PORT: Final = "com.android.trusty.vault"
HOST, PVM = "host", "pvm"
SEAL, OPEN, DIGEST, MASK = 1, 2, 3, 4
_SIZE: Final = 64 << 10
_PIECE: Final = 4096
_MEMORY: Final = 4 << 20
"""Bytes of the VM, which the host has to give away."""


class Secrets(Struct):
    """What Trusty keeps, in the order in which it was sealed: whose it is, and the secret."""

    kept: list[tuple[str, bytes]] = field(default_factory=list)


class Vault(Native):
    """The service as the client ``of`` has it: it opens a secret for nobody but its owner."""

    def __init__(self, of: str, secrets: Secrets) -> None:
        self._of = of
        self._secrets = secrets

    def on_transact(
        self, channel: Channel, code: int, parcel: Parcel, memory: Sequence[Memory]
    ) -> Parcel | None:
        """Seal and open by parcel; digest and mask what is in the memory that came with it."""
        kept = self._secrets.kept
        if code == SEAL:
            kept.append((self._of, parcel.content()))
            return Parcel().put_number(len(kept) - 1)
        if code == OPEN:
            number = parcel.number()
            owner, secret = kept[number] if number < len(kept) else ("", b"")
            own = owner == self._of
            return Parcel().put_number(own).put_data(secret if own else b"")
        if code == DIGEST and memory:
            digest = hashlib.sha256(b"".join(each.read() for each in memory)).digest()
            _close(memory)
            return Parcel().put_data(digest)
        if code == MASK and memory:
            for each in memory:
                each.write(0, _masked(each.read()))
            _close(memory)
            return Parcel()
        return None


def _close(memory: Sequence[Memory]) -> None:
    for each in memory:
        each.close()


def _masked(data: bytes) -> bytes:
    return bytes(byte ^ 0xA5 for byte in data)


class VaultProxy(Proxy):
    """The vault at its client: each method is a transaction."""

    async def seal(self, secret: bytes) -> int:
        """Have a secret kept: its number."""
        return (await self.transact(SEAL, Parcel().put_data(secret))).number()

    async def open(self, number: int) -> bytes | None:
        """A secret of one's own; None if it is none."""
        answer = await self.transact(OPEN, Parcel().put_number(number))
        return answer.content() if answer.number() else None

    async def digest(self, buffer: Buffer) -> bytes:
        """SHA-256 of memory that goes with the message."""
        return (await self.transact(DIGEST, None, [buffer])).content()

    async def mask(self, buffer: Buffer) -> None:
        """Have memory changed where it is."""
        await self.transact(MASK, None, [buffer])


class Application(DriverSide):
    """Uses the vault; `did` tells what it has done. ``foreign`` is a secret that is not its own."""

    def __init__(self, name: str, generation: Generation, foreign: int | None = None) -> None:
        super().__init__(name, generation=generation, notifications=True)
        self.did: list[str] = []
        self._foreign = foreign

    async def work(self, bus: DriverBus) -> None:
        """Seal, open, and let memory go and come back."""
        (number,) = bus.devices
        tipc = await TipcDriver.probe(bus.devices[number])
        vault = await VaultProxy.connect(tipc, PORT)
        secret = f"the secret of {self.name}".encode()
        sealed = await vault.seal(secret)
        assert await vault.open(sealed) == secret
        self.did.append(f"secret {sealed} sealed and opened")
        if self._foreign is not None:
            assert await vault.open(self._foreign) is None
            self.did.append(f"secret {self._foreign} of another is not opened")
        content = bytes(range(256)) * (_SIZE // 256)
        buffer = await tipc.share(_SIZE)
        buffer.write(0, content)
        assert await vault.digest(buffer) == hashlib.sha256(content).digest()
        await self._back(tipc, buffer)
        self.did.append(f"{_SIZE >> 10} KiB digested by their handle")
        piece = await tipc.share(_PIECE, lend=True)
        await vault.mask(piece)
        await self._back(tipc, piece)
        assert piece.read(0, _PIECE) == _masked(bytes(_PIECE))
        self.did.append("a page lent, changed there, and back")
        await vault.close()
        await bus.close()

    async def _back(self, tipc: TipcDriver, buffer: Buffer) -> None:
        """Wait until Trusty has closed it, and reclaim it."""
        await tipc.until(lambda: buffer.released)
        await buffer.take_back()


class Scene(Struct):
    """What has become of it: by act what each application has done; what is wrong."""

    acts: list[tuple[str, str]]
    messages: int
    problem: str


def play(generation: Generation = DEFAULT) -> Scene:
    """Run it: the host, then a VM that is started, ended, and started again."""
    secrets = Secrets()
    trusty = DeviceSide(name="trusty", generation=generation)
    for client in (HOST, PVM):
        trusty.add(TipcDevice({PORT: Vault(client, secrets)}), client)
    acts: list[tuple[str, str]] = []
    judges = Judges(generation)
    host = Application(HOST, generation)
    with System(boot(describe(sps=[trusty], vms=[host]))) as system:
        Tap(system.system, judges)
        problem = _turn(system)
        acts.append((f"{HOST}, from the start", ", ".join(host.did)))
        for when in ("started meanwhile", "started again after its end"):
            guest = Application(PVM, generation, foreign=0)
            problem = problem or _live(system, guest)
            acts.append((f"{PVM}, {when}", ", ".join(guest.did) or "nothing"))
    failed = judges.close().of(Verdict.FAILED)
    broken = (
        f"{failed[0].side.value} broke {failed[0].rule.id}: {failed[0].first}" if failed else ""
    )
    return Scene(acts, sum(judges.messages.values()), problem or broken)


def _live(system: System, guest: Application) -> str:
    """Let a protected VM live and end: what is wrong with that."""
    host = system.vm(HOST)
    ipa = host.ram.allocate(_MEMORY // PAGE)
    system.create_vm(vm(guest, mem_size=_MEMORY), host=HOST, ipa=ipa)
    problem = _turn(system)
    if not problem:
        try:
            host.memory.read(ipa, 1)
            problem = "the host reaches the memory of a protected VM"
        except DataAbort:
            guest.did.append("the host does not reach its memory")
    system.destroy_vm(PVM)
    problem = problem or _turn(system)
    if not problem and any(host.memory.read(ipa, _MEMORY)):
        problem = "the host has memory of a protected VM back that is not cleared"
    host.ram.free(ipa, _MEMORY // PAGE)
    return problem


def _turn(system: System) -> str:
    """Run until nobody has anything to do: what is wrong with the end, "" if nothing is."""
    outcome = run_to_end(system.system)
    outcome.raise_interruption()
    return "" if outcome.end is End.IDLE else outcome.said
