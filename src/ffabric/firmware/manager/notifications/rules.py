"""The rules of notifications (DEN0077A 1.2, chapter 16)."""

from __future__ import annotations

from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_1
from ffabric.firmware.state.rules import Rule, rule

_NOT_SUPPORTED = Status.NOT_SUPPORTED
_INVALID = Status.INVALID_PARAMETERS
_DENIED = Status.DENIED


def _rule(name: str, status: Status, section: str, text: str) -> Rule:
    return rule(f"notification.{name}", status, f"DEN0077A 1.2, {section}", text, since=V1_1)


BITMAP_VM = _rule(
    "bitmap.vm",
    _INVALID,
    "sections 16.1 and 16.2",
    "w1 is the id of the caller, or of a VM that the caller speaks for.",
)
BITMAP_VCPUS = _rule(
    "bitmap.vcpus", _INVALID, "section 16.1", "w2 is the VM's count of vCPUs, 1 to 65535."
)
BITMAP_EXISTS = _rule(
    "bitmap.exists", _DENIED, "section 16.1", "The VM has no notification bitmaps yet."
)
BITMAP_UNKNOWN = _rule(
    "bitmap.unknown", _DENIED, "section 16.2", "The VM has notification bitmaps."
)
BITMAP_PENDING = _rule(
    "bitmap.pending", _DENIED, "section 16.2", "No notification is pending for the VM."
)

DISABLED = _rule(
    "bind.disabled",
    _NOT_SUPPORTED,
    "sections 16.3 and 16.4",
    "The receiver supports notifications; a VM has bitmaps at the SPMC.",
)
NO_BITS = _rule(
    "no_bits", _INVALID, "sections 16.3 to 16.5", "The bitmap in w3 and w4 names a notification."
)
BIND_RECEIVER = _rule(
    "bind.receiver",
    _INVALID,
    "sections 16.3 and 16.4",
    "The receiver in w1 is the caller, or a VM that the caller speaks for.",
)
BIND_SENDER = _rule(
    "bind.sender",
    _INVALID,
    "sections 16.3 and 16.4",
    "The sender in w1 is another, known endpoint; an SP, if a hypervisor asks the SPMC.",
)
BIND_TAKEN = _rule(
    "bind.taken", _DENIED, "section 16.3", "None of the bits is bound to another sender."
)
BIND_PENDING = _rule(
    "bind.pending", _DENIED, "sections 16.3 and 16.4", "None of the bits is pending."
)
UNBIND_BOUND = _rule(
    "unbind.not_bound", _DENIED, "section 16.4", "All of the bits are bound to the sender."
)

SET_FLAGS = _rule(
    "set.flags_mbz",
    _INVALID,
    "section 16.5",
    "Bits 15:2 of the flags are zero; only an SP may delay the SRI (bit 1).",
)
SET_GLOBAL_VCPU = _rule(
    "set.global_vcpu", _INVALID, "section 16.5", "The vCPU id of a global notification is zero."
)
SET_SENDER = _rule(
    "set.sender",
    _INVALID,
    "section 16.5",
    "The sender in w1 is the caller, or a VM that the caller speaks for.",
)
SET_RECEIVER = _rule(
    "set.receiver",
    _INVALID,
    "section 16.5",
    "The receiver in w1 is another, known endpoint; an SP, if a hypervisor asks the SPMC.",
)
SET_DISABLED = _rule(
    "set.receiver_disabled", _DENIED, "section 16.5", "The receiver supports notifications."
)
SET_BOUND = _rule(
    "set.not_bound", _DENIED, "section 16.5", "The receiver has bound the bits to the sender."
)
SET_KIND = _rule(
    "set.kind",
    _INVALID,
    "section 16.5",
    "The bits are bound as global or as per-vCPU ones, as the flags say.",
)
SET_VCPU = _rule("set.vcpu", _INVALID, "section 16.5", "The receiver has the vCPU in the flags.")

GET_RECEIVER = _rule(
    "get.receiver",
    _INVALID,
    "section 16.6",
    "The receiver in w1 is the caller, or a VM that the caller speaks for.",
)
GET_FLAGS = _rule(
    "get.flags_mbz",
    _INVALID,
    "section 16.6",
    "Bits 31:4 of the flags are zero; a hypervisor asks the SPMC for what it has (bits 0 and 2).",
)
GET_VCPU = _rule("get.vcpu", _INVALID, "section 16.6", "The receiver has the vCPU in w1.")

INFO_SCHEDULER = _rule(
    "info_get.scheduler",
    _NOT_SUPPORTED,
    "section 16.7",
    "The caller schedules receivers: the primary scheduler or the hypervisor.",
)
INFO_NOTHING = _rule(
    "info_get.nothing", Status.NO_DATA, "section 16.7", "A notification is pending and unreported."
)
