"""Where the SPMC runs: at S-EL2, S-EL1 or EL3, and which secure partitions it manages there.

Only S-EL2 has a stage 2 below which several partitions at S-EL1 are apart. What an implementation
at another level does not serve is its personality (`tf-a-el3`, `optee-spmc`), not its level.
"""

from __future__ import annotations

from types import MappingProxyType

import msgspec

from ffabric.system.manifest.manifest import ExceptionLevel
from ffabric.system.options.problems import Problems, did_you_mean
from ffabric.system.spec import QEMU, SP, SystemDraft

_KEY = "exception_level"


class SpmcLevel(msgspec.Struct, frozen=True, kw_only=True):
    """Which secure partitions an SPMC at an exception level manages."""

    sps: tuple[ExceptionLevel, ...]
    """Where they run."""
    most_at_s_el1: int | None = None
    """How many may run at S-EL1."""
    all_pes_at_s_el1: bool = False
    """Whether such a one has an execution context for each PE."""
    live_activation: bool = False
    """Whether it replaces their images (TF-A, `secure-partition-manager.rst`)."""
    source: str


SPMC_LEVELS = MappingProxyType(
    {
        "s-el2": SpmcLevel(
            sps=(ExceptionLevel.S_EL1, ExceptionLevel.S_EL0),
            live_activation=True,
            source="DEN0077A 1.2, section 4.1; Hafnium",
        ),
        "s-el1": SpmcLevel(
            sps=(ExceptionLevel.S_EL0,),
            source="DEN0077A 1.2, section 4.1; OP-TEE, core/arch/arm/kernel/secure_partition.c",
        ),
        "el3": SpmcLevel(
            sps=(ExceptionLevel.S_EL1, ExceptionLevel.S_EL0),
            most_at_s_el1=1,
            all_pes_at_s_el1=True,
            source="DEN0077A 1.2, section 4.1; TF-A, services/std_svc/spm/el3_spmc/spmc_main.c, "
            "sp_manifest_parse",
        ),
    }
)
"""Each exception level of an SPMC."""


def check_spmc_level(draft: SystemDraft, pes: int, problems: Problems) -> None:
    """Note secure partitions that an SPMC at its level does not manage."""
    level = SPMC_LEVELS.get(draft.spmc_level)
    if level is None:
        known = ", ".join(SPMC_LEVELS)
        hint = did_you_mean(draft.spmc_level, SPMC_LEVELS)
        problems.add("[spmc]", _KEY, f"{draft.spmc_level!r} is not one of {known}{hint}")
        return
    sps = [each for each in draft.partitions if each.kind == SP]
    for each in sps:
        runs_at = each.manifest.exception_level
        if runs_at.secure and runs_at not in level.sps:
            message = f"{runs_at.name}: an SPMC at {draft.spmc_level} has none there"
            problems.add(each.where, "exception-level", message)
        if each.manifest.live_activation_support and not level.live_activation:
            message = f"an SPMC at {draft.spmc_level} replaces no images"
            problems.add(each.where, "live-activation-support", message)
        if each.manifest.live_activation_support and each.engine == QEMU:
            message = "an SP that QEMU executes keeps its image"
            problems.add(each.where, "live-activation-support", message)
    kernels = [each for each in sps if each.manifest.exception_level is ExceptionLevel.S_EL1]
    if level.most_at_s_el1 is not None and len(kernels) > level.most_at_s_el1:
        names = ", ".join(each.name for each in kernels)
        message = f"{draft.spmc_level} has at most {level.most_at_s_el1} SP at S-EL1, not {names}"
        problems.add("[spmc]", _KEY, message)
    if level.all_pes_at_s_el1:
        for each in kernels:
            count = each.manifest.execution_ctx_count
            if count != pes:
                message = f"{count}: an SP at S-EL1 below an SPMC at {draft.spmc_level} has {pes}"
                problems.add(each.where, "execution-ctx-count", message)
