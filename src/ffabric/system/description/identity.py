"""Who is who in a system: names, endpoint ids, PEs, and where each partition runs."""

from __future__ import annotations

import itertools
from functools import partial

import msgspec

from ffabric.abi.ffa.partition_info import IdType
from ffabric.abi.words import MASK16, PAGE
from ffabric.firmware.monitor.logical import FIRST_ID as FIRST_LOGICAL_ID
from ffabric.machine.gic import SPI_RANGES, is_spi
from ffabric.machine.limits import AFFINITIES, PES
from ffabric.system.manifest.manifest import SP_ID_BASE, ExecutionState
from ffabric.system.options.problems import Problems, did_you_mean
from ffabric.system.spec import (
    ENGINES,
    FFA,
    OPTEE,
    PROTOCOLS,
    QEMU,
    SP,
    TRUSTED_OS,
    VM,
    ImageSource,
    PartitionDraft,
    PythonSource,
    SystemDraft,
)

_LOGICAL = f"is for EL3: {FIRST_LOGICAL_ID:#x} and on are logical partitions"
PES_PER_CLUSTER = 4
_KINDS = {SP: "an SP", VM: "a VM", TRUSTED_OS: "a trusted OS"}
FW_CONFIG_SIZE = 16 * PAGE
QEMU_PES = 16
"""In the one cluster of QEMU's machine."""
_ID_TYPES = {
    "auxiliary-id": IdType.AUXILIARY,
    "stream-endpoint-ids": IdType.DEPENDENT_DEVICE,
}


def check_names(draft: SystemDraft, problems: Problems) -> None:
    """No two partitions of one name, and none without."""
    seen: set[str] = set()
    for partition in draft.partitions:
        if not partition.name:
            problems.add(partition.where, "name", "it is empty")
        if partition.name in seen:
            problems.add(partition.where, "name", "another partition has this name")
        seen.add(partition.name)


def find_mpidrs(draft: SystemDraft, problems: Problems) -> tuple[int, ...]:
    """The PEs' affinity values; without a list, clusters of four as on Arm's FVPs."""
    known, wanted = draft.mpidrs, draft.pes
    if wanted is None:
        most = max((p.manifest.execution_ctx_count for p in draft.partitions), default=1)
        if draft.with_hypervisor and any(p.engine == QEMU for p in draft.partitions):
            most = max(most, 1 + sum(p.kind == VM for p in draft.partitions))
        wanted = len(known) or most
    if not 1 <= wanted <= PES:
        problems.add("", "pes", f"{wanted}: a machine has 1 to {PES}")
        wanted = min(max(wanted, 1), PES)
    for mpidr in known:
        if mpidr & ~AFFINITIES:
            message = f"{mpidr:#x} is not an affinity: Aff3 is 39:32, Aff2 to 0 23:0"
            problems.add("", "mpidrs", message)
    if not known and any(p.engine == QEMU for p in draft.partitions):
        return tuple(range(wanted))
    if not known:
        return tuple(
            pe // PES_PER_CLUSTER << 16 | pe % PES_PER_CLUSTER << 8 for pe in range(wanted)
        )
    if wanted > len(known):
        problems.add("", "pes", f"{wanted}, but {len(known)} affinities are listed")
    if len(set(known)) != len(known):
        problems.add("", "mpidrs", "two of them are the same")
    return known[:wanted]


def check_partition(
    draft: SystemDraft, partition: PartitionDraft, pes: int, problems: Problems
) -> None:
    """The partition can run where and how it says."""
    manifest, where = partition.manifest, partition.where
    level, count = manifest.exception_level, manifest.execution_ctx_count
    if level.secure is not (partition.kind != VM):
        kind = _KINDS[partition.kind]
        problems.add(where, "exception-level", f"{kind} does not run at {level.name}")
    if partition.kind == SP and count not in (0, 1, pes):  # the manifest's checks tell of 0
        problems.add(
            where, "execution-ctx-count", f"{count}: an SP has 1, or one for each of {pes} PEs"
        )
    if partition.kind == VM and count > pes:
        message = f"{count}: an execution context runs on a PE of its own, and there are {pes}"
        problems.add(where, "execution-ctx-count", message)
    if partition.el == 2 and draft.with_hypervisor:
        problems.add(where, "el", "2 is the hypervisor's: say hypervisor = false")
    image = isinstance(partition.source, ImageSource)
    if partition.engine is not None and (partition.engine == "python") is image:
        what = "an image" if image else "Python code"
        hint = did_you_mean(partition.engine, ENGINES)
        problems.add(where, "engine", f"{partition.engine!r} does not run {what}{hint}")
    if partition.kind == TRUSTED_OS and partition.source == PythonSource():
        problems.add(where, "", "a trusted OS has code of its own: it is not driven")
    _check_notifications(partition, problems)
    _check_rpmb(draft, partition, problems)
    _check_spmc(draft, partition, problems)
    native = partition.kind == TRUSTED_OS or (partition.kind == VM and not draft.with_hypervisor)
    if native and manifest.rx_buffer is not None:
        problems.add(where, "rx_tx-info", "without a partition manager nobody maps its buffers")
    if partition.engine == QEMU:
        _check_qemu(draft, partition, problems)
    if partition.secure_state and (partition.kind, partition.engine) != (SP, QEMU):
        problems.add(where, "secure", "it is for SPs that have the engine 'qemu'")
    if image and manifest.execution_state is ExecutionState.AARCH32:
        problems.add(where, "execution-state", "AArch32 images cannot be run")


_NO_PRIMARY = (
    "'qemu' does not run a primary VM: what ends the turns that it gives to others, its "
    "interrupts, is in a GIC of QEMU's own"
)
_NO_SECONDARY = (
    "'qemu' does not run VMs that a primary VM schedules: they have no GIC, and any of their vCPUs "
    "runs on any PE"
)


def check_primary_vm(draft: SystemDraft, problems: Problems) -> None:
    """The VM that schedules the others is one, and no QEMU executes a VM of such a system."""
    wanted, key = draft.primary_vm, "primary_vm"
    if not wanted:
        return
    broken = {each.where for each in problems.errors}
    vms = [partition for partition in draft.partitions if partition.kind == VM]
    if not draft.with_hypervisor:
        problems.add("", key, "without a hypervisor there are no others that it could schedule")
    elif wanted not in (names := [vm.name for vm in vms]) and f"[[{VM}]] {wanted}" not in broken:
        problems.add("", key, f"no VM is called {wanted!r}{did_you_mean(wanted, names)}")
    for vm in vms:
        if vm.engine == QEMU:
            primary = vm.name == wanted
            problems.add(vm.where, "engine", _NO_PRIMARY if primary else _NO_SECONDARY)


def with_primary_vm(draft: SystemDraft, pes: int) -> SystemDraft:
    """A draft whose primary VM has a vCPU for each of ``pes`` PEs, if it does not name more."""
    return msgspec.structs.replace(
        draft,
        partitions=[
            _with_vcpus(each, pes) if _is_primary(draft, each) else each
            for each in draft.partitions
        ],
    )


def _with_vcpus(partition: PartitionDraft, pes: int) -> PartitionDraft:
    count = max(partition.manifest.execution_ctx_count, pes)
    manifest = msgspec.structs.replace(partition.manifest, execution_ctx_count=count)
    return msgspec.structs.replace(partition, manifest=manifest)


def _is_primary(draft: SystemDraft, partition: PartitionDraft) -> bool:
    return partition.kind == VM and partition.name == draft.primary_vm


def _check_notifications(partition: PartitionDraft, problems: Problems) -> None:
    intid, key = partition.notification_interrupt, "notification_interrupt"
    if intid is None:
        return
    if partition.kind != TRUSTED_OS:
        problems.add(partition.where, key, "a trusted OS has one, nobody else")
    if not is_spi(intid):
        message = f"{intid} is no SPI: they are {SPI_RANGES}"
        problems.add(partition.where, key, message)


def _check_rpmb(draft: SystemDraft, partition: PartitionDraft, problems: Problems) -> None:
    if partition.rpmb is None:
        return
    from ffabric.abi.rpmb import MOST_PARTS  # noqa: PLC0415 - few share one out

    if partition.kind != TRUSTED_OS:
        problems.add(partition.where, "rpmb", "a trusted OS has one, nobody else")
    elif not draft.with_hypervisor:
        problems.add(partition.where, "rpmb", "without a hypervisor nobody shares it out")
    if not 0 < partition.rpmb <= MOST_PARTS:
        message = f"{partition.rpmb}: 1 to {MOST_PARTS} VMs have a part"
        problems.add(partition.where, "rpmb", message)


def _check_spmc(draft: SystemDraft, partition: PartitionDraft, problems: Problems) -> None:
    """An image that is the SPMC manages the secure world alone, right below EL3."""
    where, key = partition.where, "protocol"
    if partition.fw_config and partition.protocol != FFA:
        problems.add(where, "fw_config", f"an SPMC has one: {key} = {FFA!r}")
    if partition.packages and not partition.fw_config:
        problems.add(where, "packages", "where they lie is said in the SPMC's manifest: fw_config")
    if len(partition.fw_config) > FW_CONFIG_SIZE:
        message = f"{len(partition.fw_config)} bytes, of {FW_CONFIG_SIZE} at most"
        problems.add(where, "fw_config", message)
    if partition.protocol == OPTEE:
        return
    if partition.kind != TRUSTED_OS or partition.protocol != FFA:
        known = ", ".join(PROTOCOLS)
        hint = did_you_mean(partition.protocol, PROTOCOLS)
        problems.add(where, key, f"{partition.protocol!r}: a trusted OS has one of {known}{hint}")
        return
    if not isinstance(partition.source, ImageSource) or partition.engine == QEMU:
        problems.add(where, key, f"{FFA!r}: an SPMC is an image that Unicorn executes")
    if draft.with_hypervisor:
        message = "the normal world of an SPMC at S-EL1 is a kernel: say hypervisor = false"
        problems.add(where, key, f"{FFA!r}: {message}")
    if sps := [each.name for each in draft.partitions if each.kind == SP]:
        problems.add(where, key, f"{FFA!r}: the SPMC has SPs of its own, not {', '.join(sps)}")


def _check_qemu(draft: SystemDraft, partition: PartitionDraft, problems: Problems) -> None:
    """QEMU executes kernels, VMs, SPs and a trusted OS, on CPUs that are numbered from 0."""
    count = partition.manifest.execution_ctx_count
    if count > QEMU_PES:
        problems.add(partition.where, "engine", f"{count} vCPUs: QEMU's machine has {QEMU_PES}")
    if draft.mpidrs and draft.mpidrs[:count] != tuple(range(count)):
        message = "the PEs' affinities are not those of QEMU's machine: 0, 1, 2 ..."
        problems.add(partition.where, "engine", message)


def find_ids(draft: SystemDraft, problems: Problems) -> dict[str, int]:
    """Every partition's endpoint id: what it asks for, or the next free one of its world."""
    found: dict[str, int] = {}
    owners = {draft.spmc_id: "the SPMC"}
    if not SP_ID_BASE <= draft.spmc_id <= MASK16:
        problems.add("[spmc]", "id", f"{draft.spmc_id:#x}: 16 bits, of which bit 15 must be set")
    elif draft.spmc_id >= FIRST_LOGICAL_ID:
        problems.add("[spmc]", "id", f"{draft.spmc_id:#x} {_LOGICAL}")
    if draft.with_hypervisor:
        owners[0] = "the hypervisor"
    else:
        vms = [p for p in draft.partitions if p.kind == VM]
        if not vms and not problems.errors:  # they may tell why it could not be had
            problems.add("", "hypervisor", "false: then a VM is the kernel, and there is none")
        for extra in vms[1:]:
            problems.add(extra.where, "", "without a hypervisor there is only one VM")
    for extra in [p for p in draft.partitions if p.kind == TRUSTED_OS][1:]:
        problems.add(extra.where, "", "there is one trusted OS already")
    for partition in sorted(draft.partitions, key=partial(_turn, draft)):
        if partition.kind == TRUSTED_OS:
            found[partition.name] = 0
            continue
        wanted = _wanted_id(partition)
        if wanted is not None and wanted & ~MASK16:
            problems.add(partition.where, "id", f"{wanted:#x} has more than 16 bits")
        if wanted is None:
            first = SP_ID_BASE + 1 if partition.kind == SP else 0
            wanted = next(number for number in itertools.count(first) if number not in owners)
        if why := _no_id(partition, wanted, owners):
            problems.add(partition.where, "id", f"{wanted:#x}{why}")
        owners[wanted] = partition.name
        found[partition.name] = wanted
    return found


def _no_id(partition: PartitionDraft, number: int, owners: dict[int, str]) -> str:
    """Why ``number`` cannot be the id of ``partition``; empty: it can."""
    if number in owners:
        return f" is the id of {owners[number]}"
    if bool(number & SP_ID_BASE) is not (partition.kind == SP):
        return f": bit 15 must be {'set' if partition.kind == SP else 'clear'}"
    return f" {_LOGICAL}" if FIRST_LOGICAL_ID <= number <= MASK16 else ""


def find_aliases(
    draft: SystemDraft, ids: dict[str, int], problems: Problems
) -> dict[str, dict[int, IdType]]:
    """Other IDs of each partition (auxiliary-id, stream-endpoint-ids), as far as they can be used.

    Memory transactions may name it by them (DEN0077A 1.2, table 5.1). No implementation looks at
    them, so that manifests exist whose IDs mean nothing.
    """
    owners = {0: "the hypervisor", draft.spmc_id: "the SPMC"} | {
        number: name for name, number in ids.items() if number
    }
    found: dict[str, dict[int, IdType]] = {each.name: {} for each in draft.partitions}
    for partition in draft.partitions:
        manifest = partition.manifest
        asked = [("stream-endpoint-ids", each) for each in manifest.stream_endpoint_ids]
        if manifest.auxiliary_id:
            asked.insert(0, ("auxiliary-id", manifest.auxiliary_id))
        for key, number in asked:
            if why := _no_alias(draft, partition, number, owners):
                problems.warn(partition.where, key, f"ignored: {number:#x} {why}")
                continue
            owners[number] = partition.name
            found[partition.name][number] = _ID_TYPES[key]
    return found


def _no_alias(
    draft: SystemDraft, partition: PartitionDraft, number: int, owners: dict[int, str]
) -> str:
    if partition.kind == TRUSTED_OS or (partition.kind == VM and not draft.with_hypervisor):
        return "would be of no partition of a partition manager"
    if number & ~MASK16:
        return "has more than 16 bits"
    if bool(number & SP_ID_BASE) is not (partition.kind == SP):
        return "is an ID of the other world"
    if number >= FIRST_LOGICAL_ID:
        return _LOGICAL
    return f"is the id of {owners[number]}" if number in owners else ""


def _turn(draft: SystemDraft, partition: PartitionDraft) -> int:
    """Those with ids of their own come first, then the primary VM: in Hafnium it is VM 1."""
    if _wanted_id(partition) is not None:
        return 0
    return 1 if _is_primary(draft, partition) else 2


def _wanted_id(partition: PartitionDraft) -> int | None:
    if partition.id is not None or partition.manifest.id is None:
        return partition.id
    return partition.manifest.id | (SP_ID_BASE if partition.kind == SP else 0)
