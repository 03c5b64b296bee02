"""GICs at boot: the machine's, one for each VM, and the interrupts of partitions' devices."""

from __future__ import annotations

from functools import partial

from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor.hypervisor import Hypervisor
from ffabric.firmware.hypervisor.vms.scheduler import virtual_interrupts_changed
from ffabric.firmware.manager.manager import Manager
from ffabric.firmware.spmc.setup import own_interrupt
from ffabric.firmware.spmc.spmc import Spmc
from ffabric.firmware.state.endpoints import Booted, Vm, sp_of, vm_of
from ffabric.firmware.state.partition import Partition
from ffabric.machine.bus import Bus, Device, Region
from ffabric.machine.devices.generic_timer import PPI_SECURE_EL2
from ffabric.machine.gic import (
    DISTRIBUTOR_SIZE,
    REDISTRIBUTOR_SIZE,
    SECURE_SGIS,
    Distributor,
    Gic,
    RedistributorRegion,
    is_private,
    set_up,
)
from ffabric.machine.limits import PA_END
from ffabric.machine.translation.stage2 import Stage2
from ffabric.system.booting.loading import device_attributes
from ffabric.system.layout.address_spaces import vm_maps
from ffabric.system.spec import FFA, QEMU, PartitionSpec, SystemSpec

VIRTUAL_GICS = PA_END
"""Where on the bus the virtual GICs of VMs are, by VMID and without gaps: one window for all."""


class Gics:
    """The GIC of a machine as it is at boot, with its frames on the bus, and the GICs of VMs."""

    def __init__(self, spec: SystemSpec, bus: Bus, gic: Gic) -> None:
        self._spec = spec
        self._bus = bus
        self._gic = gic
        self._of_vms: dict[Partition, list[Region]] = {}
        set_up(gic, _secure_interrupts(spec) | {PPI_SECURE_EL2})
        frames = spec.gic
        for secure in (True, False):
            distributor = Distributor(gic, secure=secure)
            bus.add(frames.distributor, DISTRIBUTOR_SIZE, distributor, secure=secure)
            bus.add(
                frames.redistributors,
                REDISTRIBUTOR_SIZE * spec.pes,
                RedistributorRegion(gic, secure=secure),
                secure=secure,
            )

    def assign(self, manager: Manager, spec: PartitionSpec, partition: Booted) -> None:
        """Let the interrupts of its devices be the partition's own."""
        interrupts = [line for d in spec.manifest.device_regions for line in d.interrupts]
        if isinstance(manager, Spmc):
            for line in interrupts:
                own_interrupt(manager, line.id, sp_of(partition))
        else:
            vm_of(partition).interrupts = frozenset(line.id for line in interrupts)
        enabled = None if spec.secure else True
        for line in interrupts:
            edge = not line.level_triggered
            priority = line.priority if line.secure else None
            if not is_private(line.id):
                target = 0 if line.mpidr is None else self._spec.mpidrs.index(line.mpidr)
                self._gic.configure(
                    line.id, edge=edge, enabled=enabled, priority=priority, target=target
                )
                continue
            for pe in range(self._spec.pes):
                self._gic.configure(line.id, pe, edge=edge, enabled=enabled, priority=priority)

    def add_virtual(
        self, hypervisor: Hypervisor, spec: PartitionSpec, vm: Vm, stage2: Stage2
    ) -> None:
        """A GIC of the VM's own, where the machine has its: the VM sees no other interrupts.

        A VM that QEMU executes has that of QEMU's machine, and ours tells it what is pending.
        """
        gic = Gic(self._spec.pes, self._spec.mpidrs)
        set_up(gic)
        vm.gic = gic
        gic.on_change = partial(virtual_interrupts_changed, hypervisor, vm)
        if spec.engine == QEMU:
            if self._spec.notification_interrupt is not None:
                gic.configure(self._spec.notification_interrupt, enabled=True, edge=True, target=0)
            for device in spec.manifest.device_regions:
                for line in device.interrupts:
                    edge = not line.level_triggered
                    gic.configure(line.id, enabled=True, edge=edge, target=0)
            for each in vm_maps(spec, self._spec.gic, self._spec.pes):
                stage2.map(each.ipa, each.pa, each.size // PAGE, device_attributes(secure=False))
            return
        base = VIRTUAL_GICS + stage2.vmid * (DISTRIBUTOR_SIZE + REDISTRIBUTOR_SIZE * self._spec.pes)
        frames: tuple[Device, ...] = (
            Distributor(gic, secure=False),
            RedistributorRegion(gic, secure=False),
        )
        self._of_vms[vm] = []
        for each, frame in zip(vm_maps(spec, self._spec.gic, self._spec.pes), frames, strict=True):
            self._of_vms[vm].append(self._bus.add(base, each.size, frame, secure=False))
            stage2.map(each.ipa, base, each.size // PAGE, device_attributes(secure=False))
            base += each.size

    def remove(self, partition: Partition) -> None:
        """Take back the GIC of a VM that is gone."""
        for region in self._of_vms.pop(partition, ()):
            self._bus.remove(region)
        if partition.gic is not None:
            partition.gic.on_change = None


def _secure_interrupts(spec: SystemSpec) -> set[int]:
    """The interrupts of SPs' devices, and the SGIs that an SPMC of the platform's may give away."""
    secure = {
        each.id
        for sp in spec.sps
        for device in sp.manifest.device_regions
        for each in device.interrupts
        if each.secure
    }
    if spec.trusted_os is not None and spec.trusted_os.protocol == FFA:
        secure |= {*SECURE_SGIS}
    return secure
