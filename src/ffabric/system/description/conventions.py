"""Which personality a system has, which rules it waives or enforces: checked, and made."""

from __future__ import annotations

from ffabric.firmware.state.interface.conventions import (
    HYPERVISOR,
    SPMC,
    Conventions,
    optional,
    waivable,
)
from ffabric.firmware.state.interface.switches import PERSONALITIES, SWITCHES, switches
from ffabric.system.options.problems import Problems, did_you_mean
from ffabric.system.spec import SystemDraft, SystemSpec

SBZ = "abi.reserved_registers_sbz"
"""The rule that a strict system enforces."""


def check_conventions(draft: SystemDraft, problems: Problems) -> None:
    """Note personalities and rules that do not exist, or with which nothing can be done."""
    for name in draft.personality:
        if name not in PERSONALITIES:
            hint = did_you_mean(name, PERSONALITIES)
            known = ", ".join(PERSONALITIES)
            problems.add("", "personality", f"{name!r} is not one of {known}{hint}")
        elif not draft.with_hypervisor and _is_of_the_hypervisor_alone(name):
            problems.add("", "personality", f"{name!r} is about a hypervisor: there is none")
    if draft.waive or draft.enforce:
        _check_rules(
            "waive", draft.waive, "cannot be waived: what comes after it relies on it", problems
        )
        _check_rules("enforce", draft.enforce, "is enforced in any system", problems)


def _check_rules(key: str, given: tuple[str, ...], wrong: str, problems: Problems) -> None:
    from ffabric.firmware.catalogue import RULES  # noqa: PLC0415 - all of the firmware

    possible = waivable() if key == "waive" else optional()
    for rule_id in given:
        if rule_id not in RULES:
            hint = did_you_mean(rule_id, [rule.id for rule in RULES])
            problems.add("", key, f"{rule_id!r} is not a rule{hint}")
        elif rule_id not in possible:
            problems.add("", key, f"{rule_id!r} {wrong}{did_you_mean(rule_id, possible)}")


def _is_of_the_hypervisor_alone(name: str) -> bool:
    about = {manager for each in SWITCHES if name in each.of for manager in each.at}
    return about == {HYPERVISOR}


def conventions_of(spec: SystemSpec, manager: str) -> Conventions:
    """What ``manager`` (``spmc`` or ``hypervisor``) of the system does otherwise."""
    enforced = (*spec.enforce, SBZ) if spec.strict else spec.enforce
    found = switches(spec.personality, manager)
    return Conventions(found, waive=spec.waive, enforce=enforced)


__all__ = ["HYPERVISOR", "SPMC", "check_conventions", "conventions_of"]
