"""From what somebody asks for to a `SystemSpec`: ids, places, and what cannot be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from ffabric.abi.ffa.version import VERSIONS, format_version
from ffabric.machine.cpu_features import DEFAULT_FEATURES, MODELS, complaints
from ffabric.machine.limits import IPA_END, PA_END
from ffabric.system.description.conventions import check_conventions
from ffabric.system.description.identity import (
    check_names,
    check_partition,
    check_primary_vm,
    find_aliases,
    find_ids,
    find_mpidrs,
    with_primary_vm,
)
from ffabric.system.description.monitor import check_monitor
from ffabric.system.description.spmc_level import check_spmc_level
from ffabric.system.layout.address_spaces import (
    Placed,
    check_address_space,
    check_device_memory,
    check_device_regions,
    device_maps,
    vm_maps,
)
from ffabric.system.layout.defaults import with_defaults
from ffabric.system.layout.machine import (
    MAILBOXES,
    Frame,
    check_banks,
    check_devices,
    check_tables,
    frames,
)
from ffabric.system.layout.memory_map import Places
from ffabric.system.layout.normal_world import device_memory_maps, memory_maps
from ffabric.system.layout.qemu import (
    check_memory_of_qemu,
    check_secure_memory,
    is_trusted_os,
)
from ffabric.system.layout.sharing import check_boot_order, check_interrupts, check_streams
from ffabric.system.options.problems import Problems, SystemErrors, did_you_mean
from ffabric.system.spec import (
    QEMU,
    SP,
    TRUSTED_OS,
    VM,
    FirmwareSpec,
    MemoryMap,
    PartitionDraft,
    PartitionSpec,
    SystemDraft,
    SystemSpec,
)


def assemble(draft: SystemDraft, problems: Problems) -> SystemSpec:
    """Give everything its id and its place.

    What each thing says comes first and the machine's memory and devices, then where everything
    lies, then what everybody reaches. A step with mistakes is the last: what would only follow from
    them is not told.

    Raises SystemErrors with all that cannot be, after the `problems` that were found before.
    """
    check_names(draft, problems)
    mpidrs = find_mpidrs(draft, problems)
    check_primary_vm(draft, problems)
    draft = with_primary_vm(draft, len(mpidrs))
    for partition in draft.partitions:
        check_partition(draft, partition, len(mpidrs), problems)
    ids = find_ids(draft, problems)
    partitions = [with_defaults(partition, problems) for partition in draft.partitions]
    aliases = find_aliases(draft, ids, problems)
    if draft.ffa_version not in VERSIONS:
        known = ", ".join(map(format_version, VERSIONS))
        asked = format_version(draft.ffa_version)
        problems.add("", "ffa_version", f"{asked} is not a version of FF-A: {known}")
    _check_cpu(draft, problems)
    check_conventions(draft, problems)
    check_spmc_level(draft, len(mpidrs), problems)
    check_monitor(draft, problems)
    _check_run(draft, problems)
    check_boot_order(partitions, problems)
    check_interrupts(partitions, mpidrs, problems)
    check_streams(partitions, draft.devices, problems)
    places = Places(draft, problems)
    registers = _machine(draft, partitions, len(mpidrs), places, problems)
    problems.check(SystemErrors)

    places.take_fixed(partitions)
    version = draft.ffa_version
    tables = places.take_tables("the SPMC's tables", secure=True)
    spmc = FirmwareSpec(draft.spmc_id, version, tables)
    hypervisor = None
    if draft.with_hypervisor:
        tables = places.take_tables("the hypervisor's tables", secure=False)
        hypervisor = FirmwareSpec(0, version, tables)
    places.take_floating(partitions)
    places.take_staging(partitions)
    specs = [
        replace(places.place(partition, ids[partition.name]), aliases=aliases[partition.name])
        for partition in partitions
    ]
    problems.check(SystemErrors)

    placed = [
        Placed(spec, partition.where) for partition, spec in zip(partitions, specs, strict=True)
    ]
    for partition, spec in zip(partitions, specs, strict=True):
        if is_trusted_os(partition):
            check_secure_memory(partition, spec, problems)
    for each in placed:
        kernel = each.spec.kind == VM and not draft.with_hypervisor
        translated = not kernel and each.spec.kind != TRUSTED_OS
        check_address_space(
            each, draft.gic, len(mpidrs), problems, translated=translated, cpu=draft.cpu
        )
    check_device_regions(placed, registers, places.space, problems)
    check_device_memory(placed, draft.device_memory, problems)
    for spec, where in placed:
        _check_boot_information(spec, where, problems)
    if not problems.errors:
        normal_world = [*memory_maps(places.space.banks)]
        normal_world += device_memory_maps(
            places.space.banks,
            draft.devices,
            draft.gic,
            len(mpidrs),
            partitions=specs,
            listed=draft.device_memory,
        )
        check_tables(spmc, [normal_world, *(maps for _, maps in _maps(placed, SP))], problems)
        if hypervisor is not None:
            vms = [
                [*maps, *vm_maps(spec, draft.gic, len(mpidrs))] for spec, maps in _maps(placed, VM)
            ]
            check_tables(hypervisor, vms, problems, besides=MAILBOXES)
    problems.check(SystemErrors)
    return SystemSpec(
        name=draft.name,
        mpidrs=mpidrs,
        memory=tuple(places.space.banks),
        spmc=spmc,
        hypervisor=hypervisor,
        sps=_in_boot_order(specs, SP),
        vms=_in_boot_order(specs, VM),
        trusted_os=next((spec for spec in specs if spec.kind == TRUSTED_OS), None),
        devices=draft.devices,
        device_memory=draft.device_memory,
        gic=draft.gic,
        monitor=draft.monitor,
        sri=draft.sri,
        run=draft.run,
        seed=draft.seed,
        instruction_time=draft.instruction_time,
        cpu=draft.cpu,
        cpu_features=_cpu_features(draft),
        strict=draft.strict,
        personality=draft.personality,
        waive=draft.waive,
        enforce=draft.enforce,
        primary_vm=draft.primary_vm,
        warnings=tuple(problems.found),
    )


def _machine(
    draft: SystemDraft,
    partitions: list[PartitionDraft],
    pes: int,
    places: Places,
    problems: Problems,
) -> list[Frame]:
    """Note what is wrong with the memory and the devices: the registers on the bus."""
    if draft.with_hypervisor:
        places.add_banks(partitions)
    banks = places.space.banks
    worlds = {partition.kind != VM for partition in partitions} | {True}
    before = len(problems.errors)
    check_banks(banks, worlds | ({False} if draft.with_hypervisor else set()), problems)
    apart = banks if len(problems.errors) == before else []
    for partition in partitions:
        if partition.engine == QEMU and (draft.with_hypervisor or partition.kind != VM):
            check_memory_of_qemu(partition, apart, problems)
    registers = frames(draft.devices, draft.gic, pes)
    gic_end = IPA_END if draft.with_hypervisor else PA_END
    check_devices(draft.devices, registers, apart, problems, gic_end=gic_end)
    return registers


def _check_boot_information(spec: PartitionSpec, where: str, problems: Problems) -> None:
    """What the partition is told when it starts has room."""
    if spec.manifest_offset is not None:
        from ffabric.system.booting.hand_off.boot_information import (  # noqa: PLC0415 - of images
            boot_information,
        )

        try:
            boot_information(spec)
        except ValueError as error:
            problems.add(where, "boot-info", str(error))


def _in_boot_order(specs: Iterable[PartitionSpec], kind: str) -> tuple[PartitionSpec, ...]:
    """The partitions of a kind as their manager starts them."""
    these = (spec for spec in specs if spec.kind == kind)
    return tuple(sorted(these, key=lambda spec: spec.manifest.boot_order))


def _check_run(draft: SystemDraft, problems: Problems) -> None:
    """Each text can be in a line, and is not in every line; the limits can be reached."""
    run = draft.run
    for key, limit, least in (
        ("max_events", run.max_events, 0),
        ("time_limit", run.time_limit, 1),
        ("wedged_after", run.wedged_after, 0),
    ):
        if limit is not None and limit < least:
            problems.add("[run]", key, f"{limit} is less than {least}")
    texts = (("stop_on", (run.stop_on,) if run.stop_on else ()), ("expect", run.expect),
             ("fail_on", run.fail_on))  # fmt: skip
    for key, each in ((key, text) for key, found in texts for text in found):
        if not each:
            problems.add("[run]", key, "empty text is in every line")
        elif "\n" in each:
            problems.add("[run]", key, f"{each!r} is in no line: a line ends at a line feed")


def _check_cpu(draft: SystemDraft, problems: Problems) -> None:
    if draft.cpu not in MODELS:
        hint = did_you_mean(draft.cpu, MODELS)
        problems.add("", "cpu", f"{draft.cpu!r} is not one of {', '.join(MODELS)}{hint}")
        return
    for complaint in complaints(draft.cpu, draft.cpu_features):
        problems.add("", "cpu_features", complaint)


def _cpu_features(draft: SystemDraft) -> tuple[str, ...]:
    """What the processor has: what was asked for, or else what it has anyway."""
    if draft.cpu_features is not None:
        return tuple(draft.cpu_features)
    return DEFAULT_FEATURES if draft.cpu == "max" else ()


def _maps(placed: Iterable[Placed], kind: str) -> Iterator[tuple[PartitionSpec, list[MemoryMap]]]:
    """Partitions of a kind, and what the stage 2 of each maps when it boots for its description."""
    for spec, _ in placed:
        if spec.kind == kind:
            yield spec, [*spec.memory, *device_maps(spec)]
