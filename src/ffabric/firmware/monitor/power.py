"""EL3 tells the secure world what becomes of a PE, before or after it does it (DEN0077A 1.2, 18.2).

========================== ==========================================================
call of the normal world   SPs that subscribed are told
========================== ==========================================================
PSCI CPU_OFF               before: one that answers with an error keeps the PE on
PSCI CPU_SUSPEND           before, likewise; and again when the PE goes on (WARM_BOOT)
PSCI CPU_ON                on the PE that comes on, after its contexts are initialised
========================== ==========================================================

Whoever comes after one that keeps the PE on is not told. What has happened already nobody can
prevent: an error that answers CPU_ON or WARM_BOOT changes nothing.

With a hypervisor the PSCI calls of VMs are about vCPUs, and nobody is told: the PE goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi import psci
from ffabric.abi.ffa import framework
from ffabric.abi.ffa.framework import PowerMessages
from ffabric.abi.psci import Return
from ffabric.abi.words import MASK32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ffabric.firmware.monitor.worlds import SecureWorld
    from ffabric.firmware.state.partition import Next
    from ffabric.machine.context import PE


BEFORE = {
    psci.CPU_OFF: PowerMessages.CPU_OFF,
    psci.CPU_SUSPEND_32: PowerMessages.CPU_SUSPEND,
    psci.CPU_SUSPEND_64: PowerMessages.CPU_SUSPEND,
}
"""Calls that SPs hear of before they are made."""
LOW_POWER = framework.WarmBoot.LOW_POWER
"""What a PE wakes from: there is no deeper state than standby."""


def tell(secure: SecureWorld, pe: PE, event: PowerMessages, *payload: int) -> Next:
    """Begin to tell the subscribers: who runs next. None: there is nobody to be told."""
    message = (
        framework.WARM_BOOT if event is PowerMessages.CPU_SUSPEND_RESUME else framework.PSCI_REQUEST
    )
    secure.power_event(pe, event, message, *payload)
    return secure.tell_next(pe)


def arguments(function: int, x: Sequence[int]) -> tuple[int, ...]:
    """What SPs get to know of the PSCI call in `x`, besides its function: a power_state, if any."""
    return () if function == psci.CPU_OFF else (x[1] & MASK32,)


def denies(secure: SecureWorld, pe: PE) -> bool:
    """Whether the one who was told last answers with an error: nobody else is told then."""
    denied = secure.power_status(pe) != Return.SUCCESS
    if denied:
        secure.forget_power_event(pe)
    return denied
