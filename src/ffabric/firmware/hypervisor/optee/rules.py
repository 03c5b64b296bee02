"""What the mediator refuses to VMs that call OP-TEE. Its answers are OP-TEE's, not FF-A's."""

from __future__ import annotations

from ffabric.abi.optee.smc import Return
from ffabric.firmware.state.rules import rule

_SMC = "OP-TEE 4.10, optee_smc.h"
_MESSAGE = "OP-TEE 4.10, optee_msg.h"
_VIRTUALIZATION = "OP-TEE 4.10, virtualization"

FUNCTION = rule(
    "optee.function", Return.UNKNOWN_FUNCTION, _VIRTUALIZATION,
    "The function is one that a VM may call, given the capabilities that it was told.",
)  # fmt: skip
CLIENT = rule(
    "optee.client", Return.ENOTAVAIL, _VIRTUALIZATION,
    "OP-TEE has room for the VM.",
)  # fmt: skip
REGISTERED = rule(
    "optee.registered_message", Return.UNKNOWN_FUNCTION, _VIRTUALIZATION,
    "A VM's message is one that the mediator copies, not in memory that OP-TEE has registered.",
)  # fmt: skip
RESERVED = rule(
    "optee.reserved_memory", Return.ENOTAVAIL, _VIRTUALIZATION,
    "A VM's messages are in memory of its own, not in the part that is reserved for one client.",
)  # fmt: skip
ADDRESS = rule(
    "optee.address", Return.EBADADDR, _VIRTUALIZATION,
    "Every page that OP-TEE is to use is normal memory that the VM owns alone and may write.",
)  # fmt: skip
EXTENT = rule(
    "optee.extent", Return.EBADADDR, _MESSAGE,
    "A message lies in one page.",
)  # fmt: skip
MESSAGE = rule(
    "optee.message", Return.EBADADDR, _MESSAGE,
    "A message, its parameters and its page lists are well-formed.",
)  # fmt: skip
BUFFER = rule(
    "optee.buffer", Return.EBADADDR, _MESSAGE,
    "A buffer has as many bytes as its pages hold, and a page list as many pages as may be.",
)  # fmt: skip
PAGES = rule(
    "optee.pages", Return.ENOMEM, _VIRTUALIZATION,
    "The VM's messages, with their page lists, take no more pages than a VM has.",
)  # fmt: skip
PINNED = rule(
    "optee.pinned", Return.ENOMEM, _VIRTUALIZATION,
    "OP-TEE uses no more pages of a VM at a time, under no more references, than a VM may name.",
)  # fmt: skip
REFERENCE = rule(
    "optee.reference", Return.EBADADDR, _MESSAGE,
    "The reference of memory that OP-TEE keeps is a new one.",
)  # fmt: skip
RESUME = rule(
    "optee.resume", Return.ERESUME, _SMC,
    "The thread that is resumed waits for this VM.",
)  # fmt: skip
COOKIE = rule(
    "optee.cookie", Return.ERESUME, _SMC,
    "A cookie of memory for messages is a new one.",
)  # fmt: skip
