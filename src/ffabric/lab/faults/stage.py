"""What the scenarios of faults play on: small systems, and endpoints with every field in reach.

`World` boots a system in which ``a`` owns memory and ``b`` and ``c`` may borrow it; `Side` is one
of them, whose calls the scenario makes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Self, Unpack

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import MASK32, PAGE, halves
from ffabric.firmware.state.mailbox import Buffer
from ffabric.guests.errors import FfaError, status_of
from ffabric.machine.access import DataAbort
from ffabric.session.booting import boot
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt

if TYPE_CHECKING:
    from types import TracebackType

    from ffabric.session.handle import Handle
    from ffabric.session.system import System
    from ffabric.system.description.fields import SystemFields

RO, RW = mem.PERM_DATA_RO, mem.PERM_DATA_RW
X, NX = mem.PERM_INSTRUCTION_X, mem.PERM_INSTRUCTION_NX
SHARE, LEND, DONATE = fid.FFA_MEM_SHARE_64, fid.FFA_MEM_LEND_64, fid.FFA_MEM_DONATE_64
REQ, RESP = fid.FFA_MSG_SEND_DIRECT_REQ_64, fid.FFA_MSG_SEND_DIRECT_RESP_64
REQ2, RESP2 = fid.FFA_MSG_SEND_DIRECT_REQ2, fid.FFA_MSG_SEND_DIRECT_RESP2
INVALID = Status.INVALID_PARAMETERS
DENIED = Status.DENIED
_EDGE, _LEVEL = 0x100, 0x300
"""A secure interrupt in a device region, and how it is triggered."""
MOST_EXITS = 20_000
"""Exits of a system after which a scenario is taken to have no end."""

Patch = Callable[[bytearray], object]


class Stage:
    """Boots the systems of a scenario; a ``with`` block closes them at its end."""

    def __init__(self) -> None:
        self._systems: list[System] = []

    def boot(self, *, initialising: Collection[str] = (), **fields: Unpack[SystemFields]) -> System:
        """Boot a system that ends with OutOfExits if it goes on for ever; see `ffabric.boot`."""
        system = boot(start=False, initialising=initialising, **fields)
        system.system.machine.exit_limit = MOST_EXITS
        self._systems.append(system)
        system.run()
        return system

    def side(self, system: System, name: str) -> Side:
        """The partition called ``name``, an SP or a VM, with an RX/TX pair."""
        secure = system.system.endpoint(name).spec.secure
        return Side(system.sp(name) if secure else system.vm(name))

    def world(self, kind: str = "vm-sp", **fields: Unpack[SystemFields]) -> World:
        """One of `WORLDS`: the owner ``a`` and two borrowers."""
        described: Any = {**WORLDS[kind], **fields}
        return World(self, self.boot(**described))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._systems:
            self._systems.pop().close()


class Side:
    """An endpoint whose calls a scenario makes."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.ffa = handle.ffa
        self.id = handle.id
        self.memory = handle.memory
        self.ffa.map_buffers()

    @property
    def version(self) -> int:
        """What it has negotiated."""
        return self.ffa.version

    @property
    def x(self) -> list[int]:
        """x0 to x17."""
        return self.ffa.x

    def page(self, count: int = 1) -> int:
        """The IPA of so many fresh pages in a row."""
        return self.handle.ram.allocate(count)

    def call(self, *registers: int) -> tuple[int, ...]:
        """Make any call: x0 to x17 of the answer. Raises FfaError if that is FFA_ERROR."""
        x = self.ffa.call(*registers)
        if x[0] & MASK32 == fid.FFA_ERROR:
            raise FfaError(status_of(x[2]), registers[0])
        return x

    def refused(self, *registers: int) -> Status:
        """Make a call that is refused: its status. Raises AssertionError if it is not."""
        x = self.ffa.call(*registers)
        assert x[0] & MASK32 == fid.FFA_ERROR, f"{registers[0]:#x} is answered {x[0]:#x}"
        return status_of(x[2])

    def leave(self, *registers: int) -> None:
        """Make a call that gives the PE to somebody else."""
        try:
            self.ffa.call(*registers)
        except Blocked:
            return
        raise AssertionError(f"{registers[0]:#x} has returned")

    def wait(self) -> None:
        """FFA_MSG_WAIT: from now on it can be asked."""
        self.leave(fid.FFA_MSG_WAIT)

    def ask(self, other: Side, *payload: int, function: int = REQ) -> None:
        """Make a direct request: the other one has the PE then."""
        self.leave(*message(self, other, payload, function))

    def answer(self, other: Side, *payload: int, function: int = RESP) -> None:
        """Respond to a direct request."""
        self.leave(*message(self, other, payload, function))

    def put(self, data: bytes | bytearray) -> None:
        """Write into TX."""
        self.memory.write(self.ffa.tx, bytes(data))

    def got(self, length: int) -> bytes:
        """Read from RX."""
        return self.memory.read(self.ffa.rx, length)

    def reaches(self, ipa: int, *, write: bool = False) -> bool:
        """Whether a load from the page works, or a store to it."""
        try:
            value = self.memory.read(ipa, 1)
            if write:
                self.memory.write(ipa, value)
        except DataAbort:
            return False
        return True

    # Memory, with any field of the descriptors overruled.

    def transaction(
        self,
        function: int,
        receivers: Sequence[Side | int],
        ranges: Sequence[tuple[int, int]],
        rights: int | None = None,
        **fields: Any,
    ) -> bytes:
        """The descriptor of a transaction as it should be, but for ``fields``."""
        shared = function == SHARE or (function == LEND and len(receivers) > 1)
        default = 0 if function == DONATE else RW
        transaction = abi.Transaction(
            sender=self.id,
            attributes=mem.MEM_ATTR_NORMAL_WB_INNER if shared else 0,
            receivers=[
                abi.Receiver(each if isinstance(each, int) else each.id, _or(rights, default))
                for each in receivers
            ],
            constituents=list(ranges),
        )
        for name, value in fields.items():
            setattr(transaction, name, value)
        return abi.build_transaction(transaction, self.version)

    def send(
        self,
        function: int,
        receivers: Sequence[Side | int],
        ranges: Sequence[tuple[int, int]],
        rights: int | None = None,
        *,
        patch: Patch | None = None,
        **fields: Any,
    ) -> int:
        """Send memory in one fragment, its descriptor patched: the handle. Raises FfaError."""
        data = bytearray(self.transaction(function, receivers, ranges, rights, **fields))
        if patch is not None:
            patch(data)
        self.put(data)
        x = self.call(function, len(data), len(data))
        return x[2] & MASK32 | (x[3] & MASK32) << 32

    def retrieve(
        self,
        handle: int,
        sender: Side,
        rights: int = RW,
        *,
        others: Sequence[Side] = (),
        **fields: Any,
    ) -> abi.Transaction:
        """Retrieve memory and release RX: the response, parsed. Raises FfaError."""
        receivers = [abi.Receiver(each.id, rights) for each in (self, *others)]
        request = abi.Transaction(sender=sender.id, handle=handle, receivers=receivers)
        for name, value in fields.items():
            setattr(request, name, value)
        data = abi.build_transaction(request, self.version)
        self.put(data)
        x = self.call(fid.FFA_MEM_RETRIEVE_REQ_64, len(data), len(data))
        response = abi.parse_transaction(self.got(x[2]), self.version)
        self.ffa.rx_release()
        return response

    def relinquish(self, handle: int, flags: int = 0, endpoint: int | None = None) -> None:
        """Relinquish memory. Raises FfaError."""
        ids = [self.id if endpoint is None else endpoint]
        self.put(abi.build_relinquish(abi.Relinquish(handle, flags, ids)))
        self.call(fid.FFA_MEM_RELINQUISH)

    def reclaim(self, handle: int, flags: int = 0) -> None:
        """Reclaim memory. Raises FfaError."""
        self.call(fid.FFA_MEM_RECLAIM, *halves(handle), flags)

    def change_tx(self, data: bytes | bytearray) -> None:
        """As soon as a partition manager has read TX once, ``data`` stands there."""
        box = self.handle.endpoint.partition.mailbox
        box.tx = RestlessTx(box.tx, lambda: self.put(data))

    def descriptor(self, ipa: int) -> int:
        """What its stage 2 says of a page."""
        found: int = self.handle.endpoint.partition.stage2.translate(ipa)
        return found

    def __repr__(self) -> str:
        return f"<Side {self.handle.name} {self.id:#06x}>"


class RestlessTx(Buffer):
    """A TX whose content changes ``after`` it was read so often: another vCPU writes into it."""

    __slots__ = ("after", "change", "reads")

    def __init__(self, tx: Buffer, change: Callable[[], object], after: int = 1) -> None:
        super().__init__(tx.ipa, tx.pieces)
        self.change = change
        self.after = after
        self.reads = 0

    def snapshot(self, length: int, offset: int = 0) -> bytes:
        """What a partition manager reads."""
        data = super().snapshot(length, offset)
        self.reads += 1
        if self.reads == self.after:
            self.change()
        return data


class World:
    """A system, and ``a``, ``b`` and ``c`` in it."""

    def __init__(self, stage: Stage, system: System) -> None:
        self.system = system
        self.a, self.b, self.c = (stage.side(system, name) for name in "abc")


WORLDS: dict[str, dict[str, Any]] = {
    "vm-sp": {"sps": ["b", "c"], "vms": ["a"]},
    "sp-sp": {"sps": [sp("a", mem_size=8 << 20), "b", "c"], "vms": []},
    "vm-vm": {"sps": [], "vms": ["a", "b", "c"]},
    "kernel-sp": {"sps": ["b", "c"], "vms": ["a"], "hypervisor": False},
}
"""Who owns memory and who borrows it."""


def message(sender: Side, receiver: Side, payload: Sequence[int], function: int) -> list[int]:
    """The registers of a direct message."""
    unused = (0, 0) if function in (REQ2, RESP2) else (0,)
    return [function, sender.id << 16 | receiver.id, *unused, *payload]


def device(intid: int, *, level: bool = False) -> DeviceRegion:
    """A device of an SP that raises the secure interrupt ``intid``."""
    return DeviceRegion(
        name=f"device{intid}",
        base_address=0x1C09_0000 + 0x1_0000 * intid,
        pages=1,
        attributes=3,
        interrupts=(Interrupt(intid, _LEVEL if level else _EDGE),),
    )


def raises(kind: type[Exception], make: Callable[[], object]) -> None:
    """``make`` raises an error of the kind. Raises AssertionError if it does not."""
    try:
        made = make()
    except kind:
        return
    raise AssertionError(f"accepted: {made!r}")


def let_go(make: Callable[[], object]) -> None:
    """``make`` makes a call that succeeds, after which somebody else may have the PE."""
    try:
        make()
    except Blocked:
        return


def refused_with(status: Status, make: Callable[[], object]) -> None:
    """``make`` makes a call that is refused so. Raises AssertionError if it is not."""
    try:
        made = make()
    except FfaError as error:
        got = error.status
    else:
        raise AssertionError(f"not refused: {made!r}")
    assert got is status, f"{got!r}, not {status!r}"


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


__all__ = [
    "DENIED",
    "DONATE",
    "INVALID",
    "LEND",
    "NX",
    "PAGE",
    "REQ",
    "REQ2",
    "RESP",
    "RESP2",
    "RO",
    "RW",
    "SHARE",
    "Side",
    "Stage",
    "World",
    "X",
    "refused_with",
]
