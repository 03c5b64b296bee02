"""Who runs right below EL3, without stage 2: a trusted OS, and the kernel of the normal world."""

from __future__ import annotations

from typing import cast

from ffabric.firmware.monitor.dispatcher import Dispatcher, Entered
from ffabric.firmware.monitor.monitor import Monitor
from ffabric.firmware.spmc.spmc import NORMAL_WORLD_ID
from ffabric.system.booting.endpoints import make_native
from ffabric.system.booting.engines.runners import make_endpoint
from ffabric.system.booting.hand_off.devicetree import normal_world
from ffabric.system.booting.loading import Loader
from ffabric.system.endpoint import Endpoint
from ffabric.system.layout.defaults import DEVICETREE, FW_CONFIG
from ffabric.system.spec import FFA, PartitionSpec
from ffabric.system.system import System


def add_trusted_os(
    system: System, monitor: Monitor, loader: Loader, spec: PartitionSpec
) -> Endpoint:
    """OP-TEE or an SPMC below EL3: no stage 2; x2: the devicetree of the normal world."""
    partition = make_native(spec)
    if spec.protocol == FFA:
        from ffabric.firmware.monitor.spmd import Spmd  # noqa: PLC0415 - few systems need it

        dispatcher: Dispatcher = Spmd(monitor, partition, spec.vcpus, system.spec.spmc.id)
    else:
        dispatcher = Dispatcher(monitor, partition, spec.vcpus)
    dispatcher.on_death = system.on_death
    dispatcher.notification = system.spec.notification_interrupt
    dispatcher.others = system.firmware.spmc.interrupt_owners
    monitor.dispatcher = dispatcher
    place = next(each for each in spec.memory if each.name == DEVICETREE.name)
    system.machine.memory.write(place.pa, normal_world(system.spec.memory), secure=False)
    partition.boot_information = place.pa
    if spec.fw_config:
        place = next(each for each in spec.memory if each.name == FW_CONFIG.name)
        system.machine.memory.write(place.pa, spec.fw_config, secure=True)
        partition.registers[0] = place.pa
    for address, package in spec.packages:
        system.machine.memory.write(address, package, secure=True)
    loader.load(spec, partition)
    endpoint = make_endpoint(system, spec, partition)
    dispatcher.runners = [cast(Entered, ctx.runner) for ctx in partition.contexts]
    return endpoint


def add_kernel(system: System, monitor: Monitor, loader: Loader, spec: PartitionSpec) -> Endpoint:
    """Without a hypervisor the first VM is the OS kernel: endpoint 0, no stage 2."""
    partition = make_native(spec)
    partition.id = NORMAL_WORLD_ID
    from ffabric.firmware.monitor.kernel import Kernel  # noqa: PLC0415 - most have a hypervisor

    kernel = monitor.normal = Kernel(monitor, partition)
    kernel.on_death = system.on_death
    loader.load(spec, partition)
    cpu = monitor.cpus[0]
    cpu.entry = spec.entry
    cpu.others = {n: value for n, value in spec.registers.items() if n}
    cpu.argument = spec.registers.get(0, partition.boot_information)
    return make_endpoint(system, spec, partition)
