"""A device whose back end is a process outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final

from ffabric.abi.vhost_user import PROTOCOL_CONFIG
from ffabric.abi.virtio import features as bits
from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio.vhost_user.kinds import BLOCK, Kind
from ffabric.guests.virtio.vhost_user.lane import Cheated, Lane
from ffabric.guests.virtio.vhost_user.reach import Reach
from ffabric.machine.host.vhost_user.front_end import BackEndLost, FrontEnd
from ffabric.machine.host.vhost_user.private_memory import PrivateMemory, Room
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt, RegionAttributes

if TYPE_CHECKING:
    from ffabric.machine.host.outside import Outside
    from ffabric.system.vcpu import Vcpu

QUEUE_SIZE: Final = 64
MAX_QUEUES: Final = 64
"""Virtqueues that are offered to the driver, however many the back end has."""
SHADOW_SIZE: Final = 128
"""Descriptors of a shadow: a chain may be as long as the driver's virtqueue."""
COPY_SIZE: Final = 16 << 20
"""Bytes of a virtqueue's shadow and of all copies for it together."""
ADDRESS: Final = 1 << 40
"""Where our own memory is to the back end: in area 0, which drivers do not have."""
TYPE_FEATURES: Final = (1 << 24) - 1
"""Feature bits that are the device type's own (virtio 1.3, 2.2; those from 50 on are not used)."""
RING_FEATURES: Final = bits.VERSION_1 | bits.INDIRECT_DESC
LOOK_EVERY: Final = 0.1
"""Seconds between two looks at whether the back end is in time."""
DOORBELL: Final = 0x1C0A_0000
"""A page of device memory that nothing is behind: a device region has at least one."""
_SECURE_EDGE = 0x100


class VhostUserDevice(Device):
    """A device that a back end serves.

    `config` is its configuration if the back end does not know it; ValueError if nobody does. A
    back end that is `trusted` gets the files of whole banks of memory, with all that is in them,
    and then reads and writes drivers' buffers itself; to others they are copied.
    """

    def __init__(
        self,
        back_end: FrontEnd,
        kind: Kind = BLOCK,
        *,
        config: bytes | None = None,
        trusted: bool = False,
    ) -> None:
        self.id: int = kind.id
        self.back_end = back_end
        count = min(kind.queues if back_end.queues is None else back_end.queues, MAX_QUEUES)
        if not count:
            raise back_end.channel.lose("it has no virtqueue")
        self.queue_sizes: Sequence[int] = (QUEUE_SIZE,) * count
        super().__init__()
        self.features: int = back_end.features & TYPE_FEATURES
        if config is None and kind.config_size:
            config = back_end.config(kind.config_size)
        self._config = config or b""
        if back_end.protocol & PROTOCOL_CONFIG:
            self.writable: Sequence[tuple[int, int, int]] = kind.writable
        self._memory = PrivateMemory(back_end.name, COPY_SIZE * count, ADDRESS)
        back_end.keep(self._memory.close)
        back_end.add(self._memory.region)
        self.reach: Reach = Reach(back_end, trusted=trusted)
        self._lanes = [self._lane(index, kind) for index in range(count)]
        self._next_look = 0.0
        self._interrupt: Callable[[], object] | None = None

    def _lane(self, index: int, kind: Kind) -> Lane:
        waiting = index in kind.waiting
        return Lane(
            index,
            self.back_end,
            self._memory,
            Room(COPY_SIZE * index, COPY_SIZE),
            self.reach,
            size=SHADOW_SIZE,
            waiting=waiting,
            prompt=kind.prompt and not waiting,
        )

    @property
    def config(self) -> bytes:
        """As the back end has told it, or who made the device."""
        return self._config

    def write_config(self, offset: int, data: bytes) -> None:
        """Have the back end write it, too."""
        end = offset + len(data)
        self._config = self._config[:offset] + data + self._config[end:]
        self._told(lambda: self.back_end.write_config(offset, data))

    @property
    def summary(self) -> str:
        """What the back end is given of the system's memory."""
        if not self.reach.trusted:
            return "copies, and areas that are files of their own"
        banks = ", ".join(sorted(self.reach.banks)) or "none yet"
        return f"trusted: whole banks of memory ({banks})"

    def attach(self, vcpu: Vcpu) -> None:
        """Areas are in this partition's memory."""
        self.reach.attach(vcpu.memory)

    def connect(self, outside: Outside, interrupt: Callable[[], object]) -> None:
        """Call ``interrupt`` when the back end has done something, or is gone."""
        call, connection = self.back_end.call, self.back_end.fileno()

        def called() -> None:
            if self.back_end.called():
                self._due(interrupt)

        def heard() -> None:
            self.back_end.look()
            if self.back_end.gone:
                outside.unwatch(call)
                outside.unwatch(connection)
                outside.part(self)
            self._due(interrupt)

        self._interrupt = lambda: self._due(interrupt)
        outside.watch(call, called)
        outside.watch(connection, heard)
        outside.join(self)

    def _due(self, interrupt: Callable[[], object]) -> None:
        if self.host is not None:
            self.host.due()
        interrupt()

    def look(self) -> bool:
        """Called at each turn of the machine: now and then, see whether the back end is in time."""
        now = monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_EVERY
        if self._interrupt is None or (self.quiet and not self.back_end.channel.waiting):
            return False
        self._interrupt()
        return True

    def attend(self, *, awake: bool) -> None:
        """Nothing to do: what the back end does is seen by its descriptors."""

    @property
    def polls(self) -> bool:
        """Whether it has to be polled: it has, while the back end has no interrupt to call by."""
        return self._interrupt is None and not self.settled

    # Memory.

    def mapped(self, address: int, pieces: Sequence[tuple[int, int]]) -> None:
        """Give the memory to the back end, if it is one that is trusted with it."""
        self._told(lambda: self.reach.add(address, pieces))

    def unmapped(self, address: int) -> None:
        """Take the memory from the back end: `holds` says when that is done."""
        self.reach.remove(address)

    def holds(self, address: int) -> bool:
        """Whether the back end may still reach the memory that was mapped at ``address``."""
        return self.reach.holds(address)

    @property
    def settled(self) -> bool:
        """Whether the back end has nothing of a former driver's."""
        return self.quiet and not self.reach.any

    # Virtqueues.

    @property
    def quiet(self) -> bool:
        """Whether the back end serves no virtqueue."""
        for lane in self._lanes:  # noqa: SIM110 - asked at each poll, and a generator costs more
            if not lane.quiet:
                return False
        return True

    def queue_is_quiet(self, index: int) -> bool:
        """Whether the back end does not serve it."""
        return self._lanes[index].quiet

    def start(self) -> None:
        """Choose the features."""
        chosen = self.driver_features & TYPE_FEATURES | RING_FEATURES
        self._told(lambda: self.back_end.choose(chosen))

    def start_queue(self, index: int) -> None:
        """Have the back end serve a shadow of it."""
        self._told(self._lanes[index].start)

    def stop(self) -> None:
        """Have all shadows back, once what is under way is finished."""
        for index in range(len(self._lanes)):
            self.stop_queue(index)

    def stop_queue(self, index: int) -> None:
        """Have a shadow back, once what is under way is finished; its result is dropped."""
        self._told(self._lanes[index].stop)

    def process(self, index: int) -> None:
        """Pass on what the driver has made available."""
        queue = self.queues[index]
        if queue is not None and not self.back_end.lost:
            self._told(lambda: self._lanes[index].process(queue))

    def poll(self) -> None:
        """Give back what the back end has done; see whether it is there."""
        if not self.back_end.look():
            self._lost()
            return
        self._told(self._advance)

    def _advance(self) -> None:
        for index, lane in enumerate(self._lanes):
            queue = self.queues[index]
            done = lane.collect(queue)
            lane.advance()
            if queue is not None:
                lane.pass_on(queue)
                if done:
                    self.signal(index)

    def _told(self, action: Callable[[], object]) -> None:
        """Do what may find out that the back end is lost."""
        try:
            action()
        except Cheated as cheated:
            self.back_end.channel.lose(str(cheated))
            self._lost()
        except BackEndLost:
            self._lost()

    def _lost(self) -> None:
        """Nothing will be answered any more."""
        for lane in self._lanes:
            lane.forget()
        if self.host is not None:
            self.host.broken(self.back_end.lost)


def doorbell(intid: int, base: int = DOORBELL, *, secure: bool = True) -> DeviceRegion:
    """What an SP's manifest, or a VM's, says of the interrupt by which its back ends call it."""
    attributes = RegionAttributes.READ | RegionAttributes.WRITE
    if not secure:
        attributes |= RegionAttributes.NON_SECURE
    return DeviceRegion(
        name="back-ends",
        base_address=base,
        pages=1,
        attributes=int(attributes),
        interrupts=(Interrupt(intid, _SECURE_EDGE if secure else 0),),
    )
