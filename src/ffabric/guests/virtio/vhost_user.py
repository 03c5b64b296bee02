"""Devices whose back end is a process outside, over vhost-user.

The back end reaches exactly the memory that drivers have shared, under the same addresses, and
takes data from there and puts it there itself. Virtqueues it has of its own, *shadows* in the
partition's memory: each chain of the driver is read once, judged, and passed on as it was judged.
So a hostile driver can neither break the connection, as a bad address would, nor change what was
judged; and the memory of a chain that is under way stays shared until the back end is done with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from ffabric.abi.virtio import block, ids
from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio_msg.ffa import AREA_SHIFT
from ffabric.abi.words import PAGE, pages_for
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.device_queue import Chain, QueueError
from ffabric.guests.virtio.dma import Coherent
from ffabric.guests.virtio.driver_queue import Buffer, DriverQueue, queue_size
from ffabric.machine.access import DataAbort
from ffabric.machine.host.vhost_user.front_end import BackEndLost, FrontEnd, Region
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt

if TYPE_CHECKING:
    from ffabric.machine.access import GuestAccess
    from ffabric.machine.host.outside import Outside
    from ffabric.system.vcpu import Ram, Vcpu

SHADOW_SIZE: Final = 256
"""Descriptors of a shadow."""
SHADOW_ADDRESS: Final = 0
"""Where shadows are to the back end: in area 0, which drivers do not have."""
DOORBELL: Final = 0x1C0A_0000
"""A page of device memory that nothing is behind: a device region has at least one."""
_SECURE_EDGE = 0x100
RING_FEATURES: Final = bits.VERSION_1 | bits.INDIRECT_DESC


class VhostUserDevice(Device):
    """A device that a back end serves; `type_features` are the bits that belong to its type."""

    type_features: ClassVar[int] = 0
    config_size: ClassVar[int] = 0

    def __init__(self, back_end: FrontEnd) -> None:
        super().__init__()
        self.back_end = back_end
        self.features = back_end.features & self.type_features
        self._config = back_end.config(self.config_size)
        self._memory: GuestAccess | None = None
        self._ram: Ram | None = None
        self._regions: dict[int, list[Region]] = {}
        self._shadows: dict[int, DriverQueue[Chain]] = {}
        self._coherent: dict[int, Coherent] = {}
        """The memory of each shadow there ever was."""
        self._backlog: dict[int, deque[Chain]] = {}
        """Chains that wait for room in a shadow."""
        self._users: dict[int, int] = {}
        """Area -> how many pieces of chains under way are in it."""

    @property
    def config(self) -> bytes:
        """As the back end has told it."""
        return self._config

    def attach(self, vcpu: Vcpu) -> None:
        """Shadows are in this partition's memory."""
        self._memory, self._ram = vcpu.memory, vcpu.ram

    def connect(self, outside: Outside, interrupt: Callable[[], object]) -> None:
        """Call ``interrupt`` when the back end has done something, or is gone."""

        def called() -> None:
            if self.back_end.called():
                interrupt()

        def gone() -> None:
            if not self.back_end.look():
                outside.unwatch(call)
                outside.unwatch(connection)
                interrupt()

        call, connection = self.back_end.call, self.back_end.fileno()
        outside.watch(call, called)
        outside.watch(connection, gone)

    # Memory.

    def mapped(self, address: int, pieces: Sequence[tuple[int, int]]) -> None:
        """Let the back end reach it. What it has no room for, it cannot reach."""
        regions = self._regions[address >> AREA_SHIFT] = []
        try:
            for ipa, size in pieces:
                self._add(regions, address, ipa, size)
                address += size
        except (ValueError, DataAbort):
            self._forget(address)
        except BackEndLost as lost:
            self._lost(lost)

    def _add(self, regions: list[Region], address: int, ipa: int, size: int) -> None:
        assert self._memory is not None
        for bank, offset, count in self._memory.extents(ipa, size, write=False):
            region = Region(address, count, bank.fd, offset)
            self.back_end.add(region)
            regions.append(region)
            address += count

    def unmapped(self, address: int) -> None:
        """The back end cannot reach it any more."""
        try:
            self._forget(address)
        except BackEndLost as lost:
            self._lost(lost)

    def _forget(self, address: int) -> None:
        for region in self._regions.pop(address >> AREA_SHIFT, ()):
            if not self.back_end.lost:
                self.back_end.remove(region)

    def busy_with(self, address: int) -> bool:
        """Whether the back end may be using it."""
        return bool(self._users.get(address >> AREA_SHIFT))

    # Virtqueues.

    def start(self) -> None:
        """Choose the features."""
        try:
            self.back_end.choose(self.driver_features & self.type_features | RING_FEATURES)
        except BackEndLost as lost:
            self._lost(lost)

    def start_queue(self, index: int) -> None:
        """Have the back end serve a shadow of it."""
        try:
            self._start(index)
        except BackEndLost as lost:
            self._lost(lost)

    def _start(self, index: int) -> None:
        memory, coherent = self._memory, self._shadow_memory(index)
        assert memory is not None
        memory.write(coherent.ipa, bytes(coherent.size))
        features = self.back_end.features & bits.INDIRECT_DESC
        shadow: DriverQueue[Chain] = DriverQueue(memory, coherent, SHADOW_SIZE, features)
        _, desc, avail, used = shadow.place
        self.back_end.start(index, SHADOW_SIZE, desc=desc, avail=avail, used=used)
        self._shadows[index] = shadow
        self._backlog[index] = deque()

    def _shadow_memory(self, index: int) -> Coherent:
        """The memory of a shadow. It stays: QEMU maps the rings of stopped queues, too."""
        coherent = self._coherent.get(index)
        if coherent is None:
            assert self._ram is not None
            size = queue_size(SHADOW_SIZE, self.back_end.features & bits.INDIRECT_DESC)
            pages = pages_for(size)
            ipa, address = self._ram.allocate(pages), SHADOW_ADDRESS + (index << 32)
            self._add([], address, ipa, pages * PAGE)
            coherent = self._coherent[index] = Coherent(ipa, address, pages * PAGE)
        return coherent

    def stop(self) -> None:
        """Have all shadows back."""
        for index in list(self._shadows):
            self.stop_queue(index)

    def stop_queue(self, index: int) -> None:
        """Have a shadow back; what is under way is finished, and its result is dropped."""
        shadow = self._shadows.pop(index, None)
        if shadow is None:
            return

        def idle() -> bool:
            for chain, _ in shadow.collect():
                self._release(chain)
            return not shadow.tokens

        try:
            self.back_end.stop(index, idle)
        except BackEndLost as lost:
            self._lost(lost)
            return
        except QueueError as error:
            self._lost(BackEndLost(f"{self.back_end.name}: {error}"))
            return
        for chain in self._backlog.pop(index):
            self._release(chain)

    def process(self, index: int) -> None:
        """Pass on what the driver has made available."""
        queue, backlog = self.queues[index], self._backlog.get(index)
        if queue is None or backlog is None or self.back_end.lost:
            return
        for chain in queue.chains():
            for address, _ in (*chain.readable, *chain.writable):
                area = address >> AREA_SHIFT
                if area not in self._regions:
                    raise QueueError(f"the back end has no room for area {area}")
                self._users[area] = self._users.get(area, 0) + 1
            backlog.append(chain)
        self._pass_on(index)

    def _pass_on(self, index: int) -> None:
        shadow, backlog = self._shadows[index], self._backlog[index]
        while backlog and shadow.add(_buffers(backlog[0]), backlog[0]):
            backlog.popleft()
        if shadow.must_notify():
            self.back_end.kick(index)

    def poll(self) -> None:
        """Give back what the back end has used; see whether it is there."""
        if not self.back_end.look():
            self._lost(BackEndLost(self.back_end.lost))
            return
        for index, shadow in list(self._shadows.items()):
            queue = self.queues[index]
            try:
                done = shadow.collect()
            except QueueError as error:
                self._lost(BackEndLost(f"{self.back_end.name}: {error}"))
                return
            for chain, written in done:
                self._release(chain)
                if queue is not None:
                    queue.push(chain.head, min(written, chain.writable_size))
            if done:
                self._pass_on(index)
                self.signal(index)

    def _release(self, chain: Chain) -> None:
        for address, _ in (*chain.readable, *chain.writable):
            self._users[address >> AREA_SHIFT] -= 1

    def _lost(self, lost: BackEndLost) -> None:
        """Nothing will be answered any more; nobody uses the driver's memory any more."""
        self._users.clear()
        self._shadows.clear()
        self._backlog.clear()
        if self.host is not None:
            self.host.broken(str(lost))


def doorbell(intid: int, base: int = DOORBELL) -> DeviceRegion:
    """What an SP's manifest says of the interrupt by which its back ends call it."""
    interrupts = (Interrupt(intid, _SECURE_EDGE),)
    return DeviceRegion(
        name="back-ends", base_address=base, pages=1, attributes=3, interrupts=interrupts
    )


def _buffers(chain: Chain) -> list[Buffer]:
    return [(address, size, False) for address, size in chain.readable] + [
        (address, size, True) for address, size in chain.writable
    ]


class VhostUserBlock(VhostUserDevice):
    """A disk that a back end serves."""

    id = ids.BLOCK
    config_size = block.CONFIG_SIZE
    type_features = (
        block.F_SEG_MAX
        | block.F_RO
        | block.F_BLK_SIZE
        | block.F_FLUSH
        | block.F_DISCARD
        | block.F_WRITE_ZEROES
    )
