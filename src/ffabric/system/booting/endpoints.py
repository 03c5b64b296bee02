"""The endpoint that a description makes: what the properties of its manifest are to the firmware.

A property of a manifest takes effect here if the firmware keeps it with the endpoint. Memory takes
effect where it is mapped (`loading.py`), an interrupt where it is given out (`devices/gics.py`);
how many vCPUs there are and where memory lies is decided in `system/layout`.
"""

from __future__ import annotations

from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.uuids import NIL
from ffabric.abi.words import PAGE
from ffabric.firmware.state.endpoints import AbortAction, Action, Booted, Sp, Vm
from ffabric.firmware.state.partition import Identity
from ffabric.machine.translation.stage2 import Stage2
from ffabric.system.layout.address_spaces import WINDOW_IPA, WINDOW_PAGES
from ffabric.system.manifest.manifest import NsInterruptsAction, OtherSInterruptsAction, SriPolicy
from ffabric.system.spec import PartitionSpec

_ACTIONS = {
    NsInterruptsAction.QUEUED: Action.QUEUED,
    NsInterruptsAction.MANAGED_EXIT: Action.MANAGED_EXIT,
    NsInterruptsAction.SIGNALED: Action.SIGNALED,
}


def _identity(spec: PartitionSpec, stage2: Stage2 | None) -> Identity:
    manifest = spec.manifest
    properties = manifest.messaging_method | info.AARCH64
    if manifest.notification_support:
        properties |= info.NOTIFICATIONS
    properties |= (manifest.vm_availability_messages & 3) << 6
    if manifest.live_activation_support:
        properties |= info.LIVE_ACTIVATION
    return {
        "id": spec.id,
        "name": spec.name,
        "el": spec.el,
        "uuids": manifest.uuids,
        "properties": properties,
        "image_uuid": manifest.image_uuid or NIL,
        "methods": dict(zip(manifest.uuids, manifest.service_methods, strict=False)),
        "version": manifest.ffa_version,
        "up": spec.vcpus == 1,
        "stage2": stage2,
        "aliases": spec.aliases,
    }


def make_sp(spec: PartitionSpec, stage2: Stage2) -> Sp:
    """A secure partition with the properties of its manifest."""
    manifest = spec.manifest
    sp = Sp(**_identity(spec, stage2))
    sp.boot_order = manifest.boot_order
    sp.boot_register = manifest.gp_register_num or 0
    sp.action = _ACTIONS[manifest.ns_interrupts_action]
    if manifest.other_s_interrupts_action is OtherSInterruptsAction.QUEUED:
        sp.secure_action = Action.QUEUED
    policy = manifest.sri_interrupts_policy
    sp.sri_while_waiting = bool(policy & SriPolicy.WHILE_WAITING)
    sp.sri_on_wait = bool(policy & SriPolicy.PENDING_ON_WAIT)
    sp.has_lifecycle = manifest.lifecycle_support
    if manifest.live_activation_support:
        sp.live_register, sp.live_state = manifest.live_activation_register, spec.live_state
    if manifest.abort_action is not None:
        sp.abort_action = AbortAction(manifest.abort_action)
    sp.power_messages = manifest.power_management_messages
    sp.managed_exit_fiq = not manifest.managed_exit_virq
    _place(spec, sp)
    return sp


def make_vm(spec: PartitionSpec, stage2: Stage2, *, secondary: bool) -> Vm:
    """A VM; ``secondary``: one with Hafnium's para-virtual interface, below a primary VM."""
    vm = Vm(**_identity(spec, stage2))
    vm.paravirtual = secondary
    vm.home = spec.id
    vm.may_schedule = spec.manifest.has_primary_scheduler
    vm.window = (WINDOW_IPA, WINDOW_PAGES)
    _place(spec, vm)
    return vm


def make_native(spec: PartitionSpec) -> Booted:
    """Software right below EL3: a kernel, or a trusted OS."""
    partition = Booted(secure=spec.secure, **_identity(spec, None))
    _place(spec, partition)
    return partition


def _place(spec: PartitionSpec, partition: Booted) -> None:
    partition.entry = spec.entry
    partition.registers = dict(spec.registers)
    partition.memory = [(each.ipa, each.size // PAGE) for each in spec.memory]
