"""From a `SystemSpec` to a booted `System`: memory, stage-2, contexts, engines, then power on.

Everything a partition owns is laid out here once, in the order a boot loader would: banks, page
pools, translation tables, images and boot information in memory, execution contexts on engines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

from ffabric.abi.ffa import partition_info as info
from ffabric.abi.words import PAGE
from ffabric.firmware.firmware import Firmware
from ffabric.firmware.hypervisor.hypervisor import Hypervisor
from ffabric.firmware.hypervisor.setup import add_vm, make_hypervisor, make_primary
from ffabric.firmware.hypervisor.vms.frames import Frames
from ffabric.firmware.hypervisor.vms.scheduler import virtual_interrupts_changed
from ffabric.firmware.manager.manager import Manager
from ffabric.firmware.manager.notifications import calls as notifications
from ffabric.firmware.manager.setup import mailbox
from ffabric.firmware.monitor.dispatcher import Dispatcher, Entered
from ffabric.firmware.monitor.logical import LogicalPartitions
from ffabric.firmware.monitor.monitor import Monitor
from ffabric.firmware.spmc.scheduler import SecureScheduler
from ffabric.firmware.spmc.setup import add_sp, enable_npi, make_spmc, own_interrupt, prepare
from ffabric.firmware.spmc.spmc import NORMAL_WORLD_ID, Spmc
from ffabric.firmware.state.endpoints import Booted, Sp, Vm, sp_of, vm_of
from ffabric.firmware.state.partition import Partition
from ffabric.machine.bus import Bus, Device, Region
from ffabric.machine.choices import Choices
from ffabric.machine.clock import Clock
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
from ffabric.machine.machine import Machine
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.pages import NoPages, PagePool
from ffabric.machine.smmu import Smmu
from ffabric.machine.stage2 import (
    S2AP_R,
    S2AP_W,
    SW_NS,
    XN,
    Stage2,
)
from ffabric.machine.watched import WatchedStage2
from ffabric.system.booting.devicetree import normal_world
from ffabric.system.booting.dma import (
    describe_streams,
    forget_streams,
    make_ports,
    make_programmers,
)
from ffabric.system.booting.endpoints import make_native, make_sp, make_vm
from ffabric.system.booting.engines import make_runner
from ffabric.system.booting.loading import (
    RAM,
    Loader,
    device_attributes,
    map_memory,
    map_own_memory,
)
from ffabric.system.booting.own_memory import is_own
from ffabric.system.booting.platform import logical_partitions, platform_calls
from ffabric.system.description.conventions import HYPERVISOR, SPMC, conventions_of
from ffabric.system.layout.address_spaces import (
    address_bits,
    device_maps,
    ipa_bits,
    vm_maps,
)
from ffabric.system.layout.machine import MAILBOXES
from ffabric.system.layout.memory_map import DEVICETREE, FW_CONFIG
from ffabric.system.layout.normal_world import device_memory_maps, memory_maps
from ffabric.system.spec import FFA, QEMU, ImageSource, PartitionSpec, SystemSpec
from ffabric.system.spec import RAM as RAM_NAME
from ffabric.system.system import Endpoint, System

NORMAL_WORLD_PROPERTIES = (
    info.DIRECT_REQ_SEND
    | info.DIRECT_REQ2_SEND
    | info.INDIRECT_MESSAGES
    | info.NOTIFICATIONS
    | info.AARCH64
)
EL2 = 2
"""A kernel that runs there may be a hypervisor."""
SPMC_RESERVE, VM_RESERVE = 50, 75
"""Percent of the memory for tables that no single address space takes from all others: VMs have
one each, and all memory of the normal world is one for the SPMC."""
VIRTUAL_GICS = PA_END
"""Where on the bus the virtual GICs of VMs are, by VMID and without gaps: one window for all."""


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
        self.smmu = Smmu(self.memory)
        self.vmids = iter(range(1, 1 << 16))
        self.free_vmids: deque[int] = deque()
        """VMIDs of partitions that are gone, used again once all others have been."""
        self.virtual_gics: dict[Partition, list[Region]] = {}

    def build(self) -> System:
        spec = self.spec
        secure = _secure_interrupts(spec)
        set_up(self.gic, secure | {PPI_SECURE_EL2})
        self._frames()
        logical = LogicalPartitions(logical_partitions(spec.monitor))
        platform = platform_calls(spec.monitor)
        spmc, secure_world = self._spmc(logical)
        monitor = Monitor(self.machine, secure_world, logical, platform)
        hypervisor = self._hypervisor(monitor) if spec.hypervisor else None
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
            from ffabric.system.booting.devices import add_devices  # noqa: PLC0415 - few have any

            system.consoles += add_devices(
                self.machine,
                spec.devices,
                on_line=system.printed,
                on_reset=system.on_reset,
                served={} if monitor.group0 is None else monitor.group0.servers,
                ports=make_ports(self.smmu, system),
                smmus=make_programmers(self.smmu, system),
            )
        if spec.trusted_os is not None:
            system.adopt(self._trusted_os(monitor, spec.trusted_os, system))
            if hypervisor is not None:
                from ffabric.system.booting.mediation import mediate  # noqa: PLC0415 - few need it

                mediate(hypervisor, spec.notification_interrupt, spec.trusted_os.rpmb)
        for each in spec.sps:
            system.adopt(self.add_partition(spmc, each, system))
        for each in spec.vms:
            if hypervisor is None:
                spmc.serves_vms = each.el == EL2
                system.adopt(self._kernel(monitor, each, system))
            else:
                system.adopt(self.add_partition(hypervisor, each, system))
        for each in spec.partitions:
            describe_streams(self.smmu, system, each)
        if any(each.staging is not None for each in spec.sps):
            from ffabric.system.booting.activation import make_activatable  # noqa: PLC0415 - few

            make_activatable(system)
        spmc.pool.keep_reserve(SPMC_RESERVE)
        if hypervisor is not None:
            hypervisor.pool.keep_reserve(VM_RESERVE)
        firmware.power_on()
        return system

    def _frames(self) -> None:
        gic = self.spec.gic
        for secure in (True, False):
            frame = Distributor(self.gic, secure=secure)
            self.bus.add(gic.distributor, DISTRIBUTOR_SIZE, frame, secure=secure)
            self.bus.add(
                gic.redistributors,
                REDISTRIBUTOR_SIZE * self.spec.pes,
                RedistributorRegion(self.gic, secure=secure),
                secure=secure,
            )

    def _spmc(self, logical: LogicalPartitions) -> tuple[Spmc, SecureScheduler]:
        spec = self.spec.spmc
        pool = self._pool(spec.memory.base, spec.memory.size)
        whole = self.spec
        memory = [*memory_maps(whole.memory)]
        devices = [
            *device_memory_maps(
                whole.memory,
                whole.devices,
                whole.gic,
                whole.pes,
                partitions=whole.partitions,
                listed=whole.device_memory,
            )
        ]
        world = self._stage2(pool, ipa_bits([*memory, *devices]))
        for each in memory:
            world.map(each.ipa, each.pa, each.size // PAGE, RAM | S2AP_R | S2AP_W | XN | SW_NS)
        for each in devices:
            world.map(each.ipa, each.pa, each.size // PAGE, device_attributes(secure=False))
        return make_spmc(
            self.machine,
            pool,
            spec.ffa_version,
            spmc_id=spec.id,
            other_world=world,
            properties=NORMAL_WORLD_PROPERTIES,
            logical=logical,
            conventions=conventions_of(self.spec, SPMC),
            sri=self.spec.sri,
        )

    def _hypervisor(self, monitor: Monitor) -> Hypervisor:
        spec = self.spec.hypervisor
        assert spec is not None
        base = spec.memory.base + MAILBOXES
        pool = self._pool(base, spec.memory.size - MAILBOXES)
        frames = Frames(self._unused(spec.memory.base, spec.memory.size))
        return make_hypervisor(
            self.machine,
            pool,
            spec.ffa_version,
            monitor=monitor,
            frames=frames,
            mailbox_base=spec.memory.base,
            conventions=conventions_of(self.spec, HYPERVISOR),
        )

    def _pool(self, base: int, size: int) -> PagePool:
        """Pages for translation tables: whatever the bank began with is not there any more."""
        for bank in self.spec.memory:
            end = bank.base + len(bank.contents)
            if bank.base <= base < end:
                self.memory.zero(base, min(end - base, size), secure=bank.secure)
        return PagePool(self.memory, base, size // PAGE)

    def _unused(self, base: int, size: int) -> list[tuple[int, int]]:
        """Ranges of non-secure memory that nobody was given."""
        taken = [(base, size)]
        taken += [(m.pa, m.size) for p in self.spec.partitions for m in p.memory if not m.secure]
        free = []
        for bank in self.spec.memory:
            if bank.secure or bank.reserved:
                continue
            at = bank.base
            for start, length in sorted(taken):
                if bank.base <= start < bank.end:
                    if start > at:
                        free.append((at, (start - at) // PAGE))
                    at = max(at, start + length)
            if at < bank.end:
                free.append((at, (bank.end - at) // PAGE))
        return free

    def _stage2(self, pool: PagePool, bits: int, kind: type[Stage2] = Stage2) -> Stage2:
        vmid = next(self.vmids, None)
        return kind(self.memory, pool, vmid=vmid or self.free_vmids.popleft(), ipa_bits=bits)

    def _ipa_bits(self, spec: PartitionSpec) -> int:
        """How many bits of address a partition has: more than usual if it needs them."""
        maps = [*spec.memory, *device_maps(spec)]
        if not spec.secure:
            maps += vm_maps(spec, self.spec.gic, self.spec.pes)
        return ipa_bits(maps, address_bits(spec.engine, self.spec.cpu))

    def add_partition(self, manager: Manager, spec: PartitionSpec, system: System) -> Endpoint:
        """Create the endpoint of ``spec`` under ``manager``, its memory laid out and loaded.

        Raises NoPages if there is no memory left for its translation tables; nothing is left then.
        """
        watched = spec.engine == QEMU
        bits = self._ipa_bits(spec)
        stage2 = self._stage2(manager.pool, bits, WatchedStage2 if watched else Stage2)
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
        self._interrupts(manager, spec, partition)
        return self._endpoint(system, spec, partition)

    def _interrupts(self, manager: Manager, spec: PartitionSpec, partition: Booted) -> None:
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
                target = 0 if line.mpidr is None else self.spec.mpidrs.index(line.mpidr)
                self.gic.configure(
                    line.id, edge=edge, enabled=enabled, priority=priority, target=target
                )
                continue
            for pe in range(self.spec.pes):
                self.gic.configure(line.id, pe, edge=edge, enabled=enabled, priority=priority)

    def _lay_out(self, manager: Manager, spec: PartitionSpec, partition: Booted) -> None:
        stage2 = partition.stage2
        assert stage2 is not None
        map_memory(spec, stage2, self.spec.devices)
        if isinstance(manager, Hypervisor) and not partition.paravirtual:
            self._virtual_gic(manager, spec, vm_of(partition), stage2)
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

    def reload(self, spmc: Spmc, system: System, sp: Sp) -> bool:
        """Lay the memory of an SP out as at boot; False if a part of it is not its own."""
        endpoint = system.endpoints[sp.name]
        spec, stage2 = endpoint.spec, sp.stage2
        assert stage2 is not None
        if not is_own(spec, stage2):
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

    def _virtual_gic(
        self, hypervisor: Hypervisor, spec: PartitionSpec, vm: Vm, stage2: Stage2
    ) -> None:
        """A GIC of the VM's own, where the machine has its: the VM sees no other interrupts.

        A VM that QEMU executes has that of QEMU's machine, and ours tells it what is pending.
        """
        gic = Gic(self.spec.pes, self.spec.mpidrs)
        set_up(gic)
        vm.gic = gic
        gic.on_change = partial(virtual_interrupts_changed, hypervisor, vm)
        if spec.engine == QEMU:
            if self.spec.notification_interrupt is not None:
                gic.configure(self.spec.notification_interrupt, enabled=True, edge=True, target=0)
            for device in spec.manifest.device_regions:
                for line in device.interrupts:
                    edge = not line.level_triggered
                    gic.configure(line.id, enabled=True, edge=edge, target=0)
            for each in vm_maps(spec, self.spec.gic, self.spec.pes):
                stage2.map(each.ipa, each.pa, each.size // PAGE, device_attributes(secure=False))
            return
        base = VIRTUAL_GICS + stage2.vmid * (DISTRIBUTOR_SIZE + REDISTRIBUTOR_SIZE * self.spec.pes)
        frames: tuple[Device, ...] = (
            Distributor(gic, secure=False),
            RedistributorRegion(gic, secure=False),
        )
        self.virtual_gics[vm] = []
        for each, frame in zip(vm_maps(spec, self.spec.gic, self.spec.pes), frames, strict=True):
            self.virtual_gics[vm].append(self.bus.add(base, each.size, frame, secure=False))
            stage2.map(each.ipa, base, each.size // PAGE, device_attributes(secure=False))
            base += each.size

    def remove_partition(self, endpoint: Endpoint) -> None:
        """Take back what `add_partition` gave a VM that its hypervisor has destroyed."""
        forget_streams(self.smmu, endpoint.spec.name)
        self._take_back(endpoint.partition)

    def _take_back(self, partition: Partition) -> None:
        for region in self.virtual_gics.pop(partition, ()):
            self.bus.remove(region)
        if partition.gic is not None:
            partition.gic.on_change = None
        if partition.stage2 is not None:
            self.free_vmids.append(partition.stage2.vmid)

    def _trusted_os(self, monitor: Monitor, spec: PartitionSpec, system: System) -> Endpoint:
        """OP-TEE or an SPMC below EL3: no stage 2; x2: the devicetree of the normal world."""
        partition = make_native(spec)
        if spec.protocol == FFA:
            from ffabric.firmware.monitor.spmd import Spmd  # noqa: PLC0415 - few systems need it

            dispatcher: Dispatcher = Spmd(monitor, partition, spec.vcpus, self.spec.spmc.id)
        else:
            dispatcher = Dispatcher(monitor, partition, spec.vcpus)
        dispatcher.on_death = system.on_death
        dispatcher.notification = self.spec.notification_interrupt
        dispatcher.others = system.firmware.spmc.interrupt_owners
        monitor.dispatcher = dispatcher
        place = next(each for each in spec.memory if each.name == DEVICETREE.name)
        self.memory.write(place.pa, normal_world(self.spec.memory), secure=False)
        partition.boot_information = place.pa
        if spec.fw_config:
            place = next(each for each in spec.memory if each.name == FW_CONFIG.name)
            self.memory.write(place.pa, spec.fw_config, secure=True)
            partition.registers[0] = place.pa
        self.loader.load(spec, partition)
        endpoint = self._endpoint(system, spec, partition)
        dispatcher.runners = [cast(Entered, ctx.runner) for ctx in partition.contexts]
        return endpoint

    def _kernel(self, monitor: Monitor, spec: PartitionSpec, system: System) -> Endpoint:
        """Without a hypervisor the first VM is the OS kernel: endpoint 0, no stage 2."""
        partition = make_native(spec)
        partition.id = NORMAL_WORLD_ID
        from ffabric.firmware.monitor.kernel import Kernel  # noqa: PLC0415 - most have a hypervisor

        kernel = monitor.normal = Kernel(monitor, partition)
        kernel.on_death = system.on_death
        self.loader.load(spec, partition)
        cpu = monitor.cpus[0]
        cpu.entry = spec.entry
        cpu.others = {n: value for n, value in spec.registers.items() if n}
        cpu.argument = spec.registers.get(0, partition.boot_information)
        return self._endpoint(system, spec, partition)

    def _endpoint(self, system: System, spec: PartitionSpec, partition: Partition) -> Endpoint:
        endpoint = Endpoint(system, spec, partition)
        for ctx in partition.contexts:
            ctx.runner = make_runner(endpoint, ctx)
        return endpoint


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
