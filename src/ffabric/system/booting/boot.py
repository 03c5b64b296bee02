"""From a `SystemSpec` to a booted `System`: memory, stage-2, contexts, engines, then power on.

Everything a partition owns is laid out here once, in the order a boot loader would: banks, page
pools, translation tables, images and boot information in memory, execution contexts on engines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

from ffabric.abi.ffa import partition_info as info
from ffabric.abi.words import PAGE
from ffabric.firmware.firmware import Firmware
from ffabric.firmware.hypervisor.hypervisor import Hypervisor
from ffabric.firmware.hypervisor.setup import add_vm, make_primary
from ffabric.firmware.manager.manager import Manager
from ffabric.firmware.manager.notifications import calls as notifications
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.monitor.logical import LogicalPartitions
from ffabric.firmware.monitor.monitor import Monitor
from ffabric.firmware.spmc.setup import add_sp, enable_npi, prepare
from ffabric.firmware.spmc.spmc import Spmc
from ffabric.firmware.state.endpoints import Booted, Sp, sp_of, vm_of
from ffabric.firmware.state.partition import Partition
from ffabric.machine.bus import Bus
from ffabric.machine.choices import Choices
from ffabric.machine.clock import Clock
from ffabric.machine.gic import (
    Gic,
)
from ffabric.machine.machine import Machine
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation.pages import NoPages, PagePool
from ffabric.machine.translation.sizes import most_tables
from ffabric.machine.translation.stage2 import Stage2
from ffabric.system.booting.devices.gics import Gics
from ffabric.system.booting.endpoints import make_sp, make_vm
from ffabric.system.booting.engines.runners import make_endpoint, make_runner
from ffabric.system.booting.loading import (
    Loader,
    map_memory,
    map_own_memory,
)
from ffabric.system.booting.managers import hypervisor_of, spmc_of
from ffabric.system.booting.platform import logical_partitions, platform_calls
from ffabric.system.endpoint import Endpoint
from ffabric.system.layout.address_spaces import (
    address_bits,
    device_maps,
    ipa_bits,
    vm_maps,
)
from ffabric.system.spec import QEMU, ImageSource, MemoryMap, PartitionSpec, SystemSpec
from ffabric.system.spec import RAM as RAM_NAME
from ffabric.system.system import System

if TYPE_CHECKING:
    from ffabric.machine.translation.smmu import Smmu

EL2 = 2
"""A kernel that runs there may be a hypervisor."""
SPMC_RESERVE, VM_RESERVE = 50, 75
"""Percent of the memory for tables that no single address space takes from all others: VMs have
one each, and all memory of the normal world is one for the SPMC."""


def boot(
    spec: SystemSpec,
    *,
    seed: int | None = None,
    replay: Sequence[int] | None = None,
    debuggers: Mapping[str, int] | None = None,
) -> System:
    """Build the system of ``spec`` and release its primary PE from reset; nothing has run yet.

    ``debuggers``: listening sockets, by the names of partitions in QEMU that gdbs debug there.
    """
    choices = Choices(spec.seed if seed is None else seed, replay)
    return _Builder(spec, choices, dict(debuggers or {})).build()


class _Builder:
    def __init__(self, spec: SystemSpec, choices: Choices, debuggers: dict[str, int]) -> None:
        self.spec = spec
        self.debuggers = dict(debuggers)
        self.memory = PhysicalMemory()
        self.loader = Loader(self.memory, spec)
        for bank in spec.memory:
            self.memory.add(bank.name, bank.base, bank.size, secure=bank.secure)
            self.memory.write(bank.base, bank.contents, secure=bank.secure)
        self.bus = Bus()
        self.clock = Clock()
        self.gic = Gic(spec.pes, spec.mpidrs)
        self.machine = Machine(
            memory=self.memory,
            bus=self.bus,
            gic=self.gic,
            clock=self.clock,
            choices=choices,
            mpidrs=spec.mpidrs,
        )
        self.vmids = iter(range(1, 1 << 16))
        self.free_vmids: deque[int] = deque()
        """VMIDs of partitions that are gone, used again once all others have been."""
        self.gics = Gics(spec, self.bus, self.gic)

    @cached_property
    def smmu(self) -> Smmu:
        """What the devices of partitions reach by themselves."""
        from ffabric.machine.translation.smmu import Smmu  # noqa: PLC0415 - few have DMA

        return Smmu(self.memory)

    def build(self) -> System:
        spec = self.spec
        logical = LogicalPartitions(logical_partitions(spec.monitor))
        platform = platform_calls(spec.monitor)
        spmc, secure_world = spmc_of(spec, self.machine, logical, self._stage2)
        monitor = Monitor(self.machine, secure_world, logical, platform)
        hypervisor = hypervisor_of(spec, self.machine, monitor) if spec.hypervisor else None
        firmware = Firmware(self.machine, monitor, spmc, hypervisor)
        for manager in firmware.managers:
            manager.sri = spec.sri
            manager.platform = platform
        system = System(spec, self.machine, firmware, self)
        system.debuggers = self.debuggers
        spmc.reload = partial(self.reload, spmc, system)
        spmc.propagate = monitor.panic
        spmc.replace = partial(self.replace, system)
        if spec.monitor.group0:
            from ffabric.firmware.monitor.group0 import Group0  # noqa: PLC0415 - few have any

            monitor.group0 = Group0(monitor, spec.monitor.group0)
        if spec.devices:
            from ffabric.system.booting.devices import dma  # noqa: PLC0415 - few have any
            from ffabric.system.booting.devices.bus import add_devices  # noqa: PLC0415 - as above

            system.consoles += add_devices(
                self.machine,
                spec.devices,
                on_line=system.printed,
                on_reset=system.on_reset,
                served={} if monitor.group0 is None else monitor.group0.servers,
                ports=dma.make_ports(self.smmu, system),
                smmus=dma.make_programmers(self.smmu, system),
            )
        if spec.trusted_os is not None:
            from ffabric.system.booting.below_el3 import add_trusted_os  # noqa: PLC0415 - few have one

            system.adopt(add_trusted_os(system, monitor, self.loader, spec.trusted_os))
            if hypervisor is not None:
                from ffabric.system.booting.mediation import mediate  # noqa: PLC0415 - few need it

                mediate(hypervisor, spec.notification_interrupt, spec.trusted_os.rpmb)
        self._add_partitions(system)
        for each in spec.partitions:
            if each.manifest.device_regions:
                from ffabric.system.booting.devices import dma  # noqa: PLC0415 - as above

                dma.describe_streams(self.smmu, system, each)
        if any(each.staging is not None for each in spec.sps):
            from ffabric.system.booting.activation import make_activatable  # noqa: PLC0415 - few

            make_activatable(system)
        spmc.pool.keep_reserve(SPMC_RESERVE)
        if hypervisor is not None:
            hypervisor.pool.keep_reserve(VM_RESERVE)
        firmware.power_on()
        return system

    def _add_partitions(self, system: System) -> None:
        """Create all SPs, and all VMs or the kernel, each with the tables that it needs."""
        firmware, spec = system.firmware, self.spec
        spmc, hypervisor = firmware.spmc, firmware.hypervisor
        self._promise(spmc.pool, spec.sps)
        for each in spec.sps:
            system.adopt(self.add_partition(spmc, each, system))
        spmc.pool.promised = 0
        if hypervisor is None:
            for each in spec.vms:
                from ffabric.system.booting.below_el3 import add_kernel  # noqa: PLC0415 - few

                spmc.serves_vms = each.el == EL2
                system.adopt(add_kernel(system, firmware.monitor, self.loader, each))
            return
        self._promise(hypervisor.pool, spec.vms)
        for each in spec.vms:
            system.adopt(self.add_partition(hypervisor, each, system))
        hypervisor.pool.promised = 0

    def _stage2(self, pool: PagePool, bits: int, kind: type[Stage2] = Stage2) -> Stage2:
        vmid = next(self.vmids, None)
        return kind(self.memory, pool, vmid=vmid or self.free_vmids.popleft(), ipa_bits=bits)

    def _maps(self, spec: PartitionSpec) -> list[MemoryMap]:
        """All that a partition finds in its address space when it begins."""
        maps = [*spec.memory, *device_maps(spec)]
        if not spec.secure:
            maps += vm_maps(spec, self.spec.gic, self.spec.pes)
        return maps

    def _ipa_bits(self, spec: PartitionSpec) -> int:
        """How many bits of address a partition has: more than usual if it needs them."""
        return ipa_bits(self._maps(spec), address_bits(spec.engine, self.spec.cpu))

    def _promise(self, pool: PagePool, partitions: Sequence[PartitionSpec]) -> None:
        """Keep the tables that ``partitions`` need at least, if some of them would take more."""
        if any(each.engine == QEMU for each in partitions):
            pool.promised = sum(
                most_tables((each.ipa, each.pa, each.size) for each in self._maps(spec))
                for spec in partitions
            )

    def add_partition(self, manager: Manager, spec: PartitionSpec, system: System) -> Endpoint:
        """Create the endpoint of ``spec`` under ``manager``, its memory laid out and loaded.

        Raises NoPages if there is no memory left for its translation tables; nothing is left then.
        """
        stage2 = self._stage2(manager.pool, self._ipa_bits(spec), _tables_for(spec))
        secondary = bool(self.spec.primary_vm) and spec.name != self.spec.primary_vm
        partition = (
            make_sp(spec, stage2) if spec.secure else make_vm(spec, stage2, secondary=secondary)
        )
        try:
            self._lay_out(manager, spec, partition)
        except NoPages:
            self._take_back(partition)
            assert partition.stage2 is not None
            partition.stage2.free()
            raise
        if isinstance(manager, Spmc):
            add_sp(manager, sp_of(partition), spec.vcpus)
        elif isinstance(manager, Hypervisor):
            if spec.name == self.spec.primary_vm:
                make_primary(manager, vm_of(partition))
            add_vm(manager, vm_of(partition), spec.vcpus)
        if partition.properties & info.NOTIFICATIONS:
            notifications.enable(partition)
            if isinstance(manager, Spmc) and isinstance(spec.source, ImageSource):
                enable_npi(manager, sp_of(partition))
        self._map_buffers(manager, spec, partition)
        self.gics.assign(manager, spec, partition)
        return make_endpoint(system, spec, partition)

    def _lay_out(self, manager: Manager, spec: PartitionSpec, partition: Booted) -> None:
        stage2 = partition.stage2
        assert stage2 is not None
        map_memory(spec, stage2, self.spec.devices)
        if isinstance(manager, Hypervisor) and not partition.paravirtual:
            self.gics.add_virtual(manager, spec, vm_of(partition), stage2)
        self.loader.fill(spec, partition)

    @staticmethod
    def _map_buffers(manager: Manager, spec: PartitionSpec, partition: Partition) -> None:
        if spec.buffers is not None:
            tx, rx = (region.base_address or 0 for region in spec.buffers)
            pages = spec.buffers[0].pages * spec.manifest.xlat_granule.bytes // PAGE
            partition.mailbox = mailbox.make(manager, partition, tx, rx, pages)

    def replace(self, system: System, sp: Sp, address: int, pages: int) -> bool:
        """Copy the new image of an SP over the old one; False if a part is not its own memory."""
        from ffabric.system.booting.activation import copy_over  # noqa: PLC0415 - it is loaded

        endpoint = system.endpoints[sp.name]
        if not copy_over(endpoint, self.memory, address, pages):
            return False
        assert sp.stage2 is not None
        map_own_memory(endpoint.spec, sp.stage2)
        endpoint.take_staged()
        sp.entry = endpoint.spec.entry
        for ctx in sp.contexts:
            assert ctx.runner is not None
            ctx.runner.close()
            ctx.runner = make_runner(endpoint, ctx)
        return True

    def reload(self, spmc: Spmc, system: System, sp: Sp, take_back: Callable[[], None]) -> bool:
        """Lay the memory of an SP out as at boot; False if a part of it is not its own.

        What it has sent, ``take_back`` takes from others: only if the rest is there.
        """
        from ffabric.system.booting.own_memory import is_own  # noqa: PLC0415 - few are restarted

        endpoint = system.endpoints[sp.name]
        spec, stage2 = endpoint.spec, sp.stage2
        assert stage2 is not None
        maps = [*spec.memory, *device_maps(spec)]
        if not is_own(maps, stage2, or_sent=True):
            return False
        take_back()
        if not is_own(maps, stage2):
            return False
        for each in spec.memory:
            if each.name == RAM_NAME:
                self.memory.zero(each.pa, each.size, secure=each.secure)
        map_memory(spec, stage2, self.spec.devices)
        self.loader.fill(spec, sp)
        self._map_buffers(spmc, spec, sp)
        sp.allow(sp.calls, min(spec.manifest.ffa_version, spmc.version))
        prepare(spmc, sp)
        if sp.notifications is not None:
            notifications.enable(sp)
            if isinstance(spec.source, ImageSource):
                enable_npi(spmc, sp)
        endpoint.begin_again()
        return True

    def remove_partition(self, endpoint: Endpoint) -> None:
        """Take back what `add_partition` gave a VM that its hypervisor has destroyed."""
        if endpoint.spec.manifest.device_regions:
            from ffabric.system.booting.devices import dma  # noqa: PLC0415 - as above

            dma.forget_streams(self.smmu, endpoint.spec.name)
        self._take_back(endpoint.partition)

    def _take_back(self, partition: Partition) -> None:
        self.gics.remove(partition)
        if partition.stage2 is not None:
            self.free_vmids.append(partition.stage2.vmid)


def _tables_for(spec: PartitionSpec) -> type[Stage2]:
    """What translates for a partition: QEMU has to be told of what changes."""
    if spec.engine != QEMU:
        return Stage2
    from ffabric.machine.translation.watched import WatchedStage2  # noqa: PLC0415 - few are QEMU's

    return WatchedStage2
