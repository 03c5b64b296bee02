"""The SPMC at S-EL2: what it keeps of secure partitions, and of the normal world behind a gate.

To the SPMC the normal world is an endpoint with one context per PE, the *gate*, RUNNING while the
PE executes there. Its stage-2 table is never walked by hardware: it is the SPMC's ledger of
non-secure memory, in which what the normal world sends is no longer its own (DEN0077A 1.2, section
4.1).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ffabric.firmware.manager.manager import Manager
from ffabric.firmware.state.endpoints import Sp, World
from ffabric.firmware.state.mailbox import Mailbox
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.machine.devices.generic_timer import PPI_SECURE_EL2

if TYPE_CHECKING:
    from collections.abc import Callable

    from ffabric.firmware.state.activation import Activation
    from ffabric.firmware.state.mailbox import Buffer
    from ffabric.firmware.state.partition import Partition
    from ffabric.machine.context import PE
    from ffabric.machine.machine import Machine
    from ffabric.machine.translation.pages import PagePool
    from ffabric.machine.translation.stage2 import Stage2

SPMC_ID = 0x8000
NORMAL_WORLD_ID = 0


class VmMailbox(Mailbox):
    """The RX/TX pair of a VM, and where it lies: the hypervisor alone knows its addresses."""

    __slots__ = ("ranges",)

    def __init__(self, tx: Buffer, rx: Buffer, ranges: list[tuple[int, int]]) -> None:
        super().__init__(tx, rx)
        self.ranges = ranges
        """(PA, pages) of both buffers."""


class Cpu:
    """What the SPMC keeps of one PE."""

    __slots__ = ("delayed_sri", "power_message", "timers", "to_tell")

    def __init__(self) -> None:
        self.to_tell: deque[Sp] = deque()
        """SPs that are to hear of what becomes of the PE."""
        self.power_message: tuple[int, ...] = ()
        """What they are told: w2 to w7 of the framework message."""
        self.delayed_sri = False
        """An SP asked to raise the SRI when the PE leaves the secure world."""
        self.timers: list[tuple[ExecutionContext, str]] = []
        """SPs' contexts whose timers are due and who do not know yet, and which timers."""


class Spmc(Manager):
    """The secure partition manager core."""

    __slots__ = (
        "activation",
        "begin",
        "boot_order",
        "interrupt_owners",
        "normal_world",
        "propagate",
        "reload",
        "replace",
        "resources",
        "restarts",
        "serves_vms",
        "vm_mailboxes",
    )

    name = "spmc"

    def __init__(
        self,
        machine: Machine,
        pool: PagePool,
        version: int,
        *,
        spmc_id: int = SPMC_ID,
        other_world: Stage2,
        properties: int,
    ) -> None:
        super().__init__(machine, pool, version)
        self.spm_id = spmc_id
        self.partitions: dict[int, Sp] = {}
        self.boot_order: list[Sp] = []
        self.vm_mailboxes: dict[int, VmMailbox] = {}
        """RX/TX pairs of VMs, which the hypervisor described."""
        self.serves_vms = True
        """The normal world has an EL2, and VMs above it."""
        self.resources: tuple[tuple[object, ...], bytes] = ((), b"")
        """What remains to be told of the memory of SPs, and what was so when it was asked for."""
        self.reload: Callable[[Sp, Callable[[], None]], bool] = lambda sp, take_back: False
        """Lays the memory of an SP out as at boot, for it to be started again; False: it cannot.

        It has what the SP has sent taken back if nothing else is missing."""
        self.activation: Activation | None = None
        """What becomes of the SP whose image is being replaced, if there is one."""
        self.replace: Callable[[Sp, int, int], bool] = lambda sp, address, pages: False
        """Copies the new image of an SP, at a physical address, over the old one; False: it cannot,
        for a part of the memory there is not the SP's own."""
        self.restarts: Callable[[Partition], bool] = lambda partition: False
        """Whether an SP that aborts now is started again."""
        self.propagate: Callable[[str], None] = lambda reason: None
        """Passes the abort of an SP on to EL3, which ends the system."""
        self.begin: Callable[[PE, ExecutionContext], None]
        """Lets a context that initialises begin at its entry point."""
        self.interrupt_owners: dict[int, Sp | None] = {PPI_SECURE_EL2: None}
        """Secure physical interrupts and the SP that each belongs to; None: to the SPMC."""
        self.cpus = [Cpu() for _ in machine.pes]
        self.normal_world = world = World(
            id=NORMAL_WORLD_ID,
            name="normal-world",
            properties=properties,
            version=version,
            stage2=other_world,
        )
        world.contexts = [ExecutionContext(world, index, self) for index in range(len(machine.pes))]
        self.gates = world.contexts

    def died(self, partition: Partition) -> None:
        """An SP has aborted. One that is started again has not died."""
        under_way = self.activation
        if (under_way is not None and under_way.sp is partition) or not self.restarts(partition):
            super().died(partition)

    def given_up(self, partition: Partition, why: str) -> None:
        """An SP that was to be started again cannot be: it has died."""
        partition.fate += f"; it cannot be started again: {why}"
        super().died(partition)
