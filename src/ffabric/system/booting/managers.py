"""The partition managers of a system, with memory for their translation tables."""

from __future__ import annotations

from collections.abc import Callable

from ffabric.abi.ffa import partition_info as info
from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor.hypervisor import Hypervisor
from ffabric.firmware.hypervisor.setup import make_hypervisor
from ffabric.firmware.hypervisor.vms.frames import Frames
from ffabric.firmware.monitor.logical import LogicalPartitions
from ffabric.firmware.monitor.monitor import Monitor
from ffabric.firmware.spmc.scheduler import SecureScheduler
from ffabric.firmware.spmc.setup import make_spmc
from ffabric.firmware.spmc.spmc import Spmc
from ffabric.machine.machine import Machine
from ffabric.machine.translation.descriptors import S2AP_R, S2AP_W, SW_NS, XN
from ffabric.machine.translation.pages import PagePool
from ffabric.machine.translation.stage2 import Stage2
from ffabric.system.booting.loading import RAM, device_attributes
from ffabric.system.description.conventions import HYPERVISOR, SPMC, conventions_of
from ffabric.system.layout.address_spaces import ipa_bits
from ffabric.system.layout.machine import MAILBOXES
from ffabric.system.layout.normal_world import device_memory_maps, memory_maps
from ffabric.system.spec import SystemSpec

NORMAL_WORLD_PROPERTIES = (
    info.DIRECT_REQ_SEND
    | info.DIRECT_REQ2_SEND
    | info.INDIRECT_MESSAGES
    | info.NOTIFICATIONS
    | info.AARCH64
)


def spmc_of(
    whole: SystemSpec,
    machine: Machine,
    logical: LogicalPartitions,
    new_stage2: Callable[[PagePool, int], Stage2],
) -> tuple[Spmc, SecureScheduler]:
    """The SPMC of a system, its scheduler, and its account of the normal world."""
    spec = whole.spmc
    pool = _pool(whole, machine, spec.memory.base, spec.memory.size)
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
    world = new_stage2(pool, ipa_bits([*memory, *devices]))
    for each in memory:
        world.map(each.ipa, each.pa, each.size // PAGE, RAM | S2AP_R | S2AP_W | XN | SW_NS)
    for each in devices:
        world.map(each.ipa, each.pa, each.size // PAGE, device_attributes(secure=False))
    return make_spmc(
        machine,
        pool,
        spec.ffa_version,
        spmc_id=spec.id,
        other_world=world,
        properties=NORMAL_WORLD_PROPERTIES,
        logical=logical,
        conventions=conventions_of(whole, SPMC),
        sri=whole.sri,
    )


def hypervisor_of(whole: SystemSpec, machine: Machine, monitor: Monitor) -> Hypervisor:
    """The hypervisor of a system, with the memory that nobody was given."""
    spec = whole.hypervisor
    assert spec is not None
    base = spec.memory.base + MAILBOXES
    pool = _pool(whole, machine, base, spec.memory.size - MAILBOXES)
    frames = Frames(_unused(whole, spec.memory.base, spec.memory.size))
    return make_hypervisor(
        machine,
        pool,
        spec.ffa_version,
        monitor=monitor,
        frames=frames,
        mailbox_base=spec.memory.base,
        conventions=conventions_of(whole, HYPERVISOR),
    )


def _pool(whole: SystemSpec, machine: Machine, base: int, size: int) -> PagePool:
    """Pages for translation tables: whatever the bank began with is not there any more."""
    for bank in whole.memory:
        end = bank.base + len(bank.contents)
        if bank.base <= base < end:
            machine.memory.zero(base, min(end - base, size), secure=bank.secure)
    return PagePool(machine.memory, base, size // PAGE)


def _unused(whole: SystemSpec, base: int, size: int) -> list[tuple[int, int]]:
    """Ranges of non-secure memory that nobody was given."""
    taken = [(base, size)]
    taken += [(m.pa, m.size) for p in whole.partitions for m in p.memory if not m.secure]
    free = []
    for bank in whole.memory:
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
