"""The systems that calls are made in: whoever the calls name is driven, everybody else runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from ffabric.lab.calls.lines import Call, Mistake
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.manifest.manifest import ExceptionLevel
from ffabric.system.options.problems import did_you_mean
from ffabric.system.spec import PartitionSpec, PythonSource, SystemSpec

PES = 8


def default_system() -> SystemSpec:
    """A hypervisor with two VMs and an SPMC with four SPs, on 8 PEs, all of them driven.

    vm1, vm2, sp1 and sp2 have a vCPU on every PE, sp3 and sp4 have one vCPU; sp4 is at S-EL0.
    """
    return describe(
        name="calls",
        pes=PES,
        sps=[
            sp("sp1", vcpus=PES),
            sp("sp2", vcpus=PES),
            "sp3",
            sp("sp4", exception_level=ExceptionLevel.S_EL0),
        ],
        vms=[vm("vm1", vcpus=PES), vm("vm2", vcpus=PES)],
    )


def drive(spec: SystemSpec, names: Collection[str]) -> SystemSpec:
    """``spec`` with the partitions of these names driven, whatever their software was.

    A partition that dies, or a console that prints what the file waits for, ends no calls.
    """

    def each(partition: PartitionSpec) -> PartitionSpec:
        if partition.name not in names:
            return partition
        return replace(partition, source=PythonSource(), engine="python", kernel=None)

    return replace(
        spec,
        sps=tuple(map(each, spec.sps)),
        vms=tuple(map(each, spec.vms)),
        run=replace(spec.run, stop_on_crash=False, stop_on=""),
    )


def check(calls: Iterable[Call], spec: SystemSpec) -> list[Mistake]:
    """What ``calls`` ask of ``spec`` that it does not have; unknown endpoints in one mistake."""
    wrong: list[Mistake] = []
    unknown: dict[str, int] = {}
    partitions = {each.name: each for each in (*spec.sps, *spec.vms)}
    for call in calls:
        partition = partitions.get(call.endpoint)
        if partition is None:
            unknown.setdefault(call.endpoint, call.line)
        else:
            wrong += _place(call, partition, spec)
    if unknown:
        wrong.append(_unknown(unknown, [each.name for each in (*spec.vms, *spec.sps)]))
    return sorted(wrong, key=lambda each: each.line)


def _unknown(names: dict[str, int], known: list[str]) -> Mistake:
    shown = [ascii(name) + did_you_mean(name, known) for name in names]
    said = f"there is no endpoint {shown[0]}"
    if len(shown) > 1:
        said = f"there are no endpoints {', '.join(shown)}"
    return Mistake(min(names.values()), f"{said}; the system has {', '.join(known)}")


def _place(call: Call, partition: PartitionSpec, spec: SystemSpec) -> list[Mistake]:
    wrong: list[str] = []
    kernel = spec.hypervisor is None and not partition.secure
    vcpus = spec.pes if kernel else partition.vcpus
    pe, vcpu = call.pe, call.vcpu
    if pe is not None and pe >= spec.pes:
        wrong.append(f"pe: {pe}; the system has PEs 0 to {spec.pes - 1}")
    elif vcpu is not None and vcpu >= vcpus:
        wrong.append(f"vcpu: {vcpu}; {call.endpoint} has vCPUs 0 to {vcpus - 1}")
    elif vcpus > 1 and vcpu is None and pe is not None and pe >= vcpus:
        wrong.append(f"pe: {pe}; {call.endpoint} has vCPUs on PEs 0 to {vcpus - 1}")
    elif vcpus > 1 and None not in (pe, vcpu) and pe != vcpu:
        wrong.append(f"vcpu: {vcpu} of {call.endpoint} runs on PE {vcpu}, not on PE {pe}")
    return [Mistake(call.line, each) for each in wrong]
