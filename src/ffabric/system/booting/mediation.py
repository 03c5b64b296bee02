"""OP-TEE below EL3 among several VMs: its mediator in the hypervisor, and its part of an RPMB card.

Only systems with a trusted OS import this.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ffabric.abi import rpmb
from ffabric.firmware.hypervisor.optee.mediator import Mediator
from ffabric.firmware.hypervisor.optee.own_rpcs import OwnRpcs
from ffabric.firmware.hypervisor.optee.rpmb import SharedRpmb
from ffabric.machine.devices.rpmb import RpmbPartition

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor


def mediate(hypervisor: Hypervisor, interrupt: int | None, parts: int | None) -> None:
    """Let VMs call OP-TEE; ``interrupt`` is that of its notifications.

    With ``parts`` the hypervisor has an RPMB card with one for each of so many VMs.
    """
    hypervisor.mediator = mediator = Mediator(hypervisor, interrupt)
    if parts is not None:
        mediator.own_rpcs = OwnRpcs(_new_card(parts))


def _new_card(parts: int) -> SharedRpmb:
    """A new card with so many parts. Its key is worth nothing to anybody: nobody else is at it."""
    card = RpmbPartition(parts * (rpmb.UNIT + 1), b"ffabric card".ljust(16, b"\0"))
    return SharedRpmb(card, hashlib.sha256(card.cid).digest())
