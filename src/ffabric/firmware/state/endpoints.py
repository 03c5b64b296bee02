"""Kinds of endpoints: SPs, VMs, and a world that is an endpoint to the other one.

An OS kernel right below EL3, and the trusted OS that EL3's dispatcher calls, are no more than
`Booted`: no partition manager keeps them.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Unpack

from ffabric.firmware.state.partition import Identity, Partition

if TYPE_CHECKING:
    from ffabric.machine.gic import Gic


class Action(enum.IntEnum):
    """What an SP asks to happen on a non-secure interrupt (manifest: ns-interrupts-action)."""

    QUEUED = 0
    MANAGED_EXIT = 1
    SIGNALED = 2


class AbortAction(enum.IntEnum):
    """What follows when an SP has aborted (manifest: abort-action, FF-A 1.3)."""

    STOP = 0
    DESTROY = 1
    RESTART = 2
    PROPAGATE = 3


class Booted(Partition):
    """A partition with software of its own, which is loaded into its memory and begins there."""

    __slots__ = ("boot_information", "entry", "memory", "registers")

    def __init__(self, *, secure: bool, **identity: Unpack[Identity]) -> None:
        super().__init__(secure=secure, **identity)
        self.entry = 0
        """The address at which its first context begins."""
        self.boot_information = 0
        """What the first context starts with: the IPA of the boot information."""
        self.memory: list[tuple[int, int]] = []
        """(IPA, pages) of its own memory."""
        self.registers: dict[int, int] = {}
        """General registers that its first context begins with, if a system says so."""


class Sp(Booted):
    """A secure partition."""

    paravirtual = True

    __slots__ = (
        "abort_action",
        "action",
        "boot_order",
        "boot_register",
        "gets_ipis",
        "has_lifecycle",
        "initialised",
        "is_being_activated",
        "knows_ns_bit",
        "live_register",
        "live_state",
        "managed_exit_fiq",
        "power_messages",
        "secondary_entry",
        "secure_action",
        "sri_on_wait",
        "sri_while_waiting",
    )

    def __init__(self, **identity: Unpack[Identity]) -> None:
        super().__init__(secure=True, **identity)
        self.has_lifecycle = False
        """It supports all states of the lifecycle (manifest: lifecycle-support)."""
        self.abort_action: AbortAction | None = None
        self.live_register: int | None = None
        """The general register in which a new image finds 1 (manifest: live-activation-register).

        None: its image cannot be replaced."""
        self.is_being_activated = False
        """It is being stopped for a new image, or started with it: nothing interrupts it."""
        self.live_state = (0, 0)
        """Where it keeps what a new image gets to know: IPA and bytes (live-state-buffer)."""
        self.initialised = False
        """It has made its first FFA_MSG_WAIT since it was started."""
        self.knows_ns_bit = False
        """It is of v1.0 and has asked for the NS bit in what it retrieves (FFA_FEATURES)."""
        self.boot_order = 0
        self.boot_register = 0
        """The general register that gets the boot information (manifest: gp-register-num)."""
        self.secondary_entry: int | None = None
        """Where its other contexts begin (FFA_SECONDARY_EP_REGISTER)."""
        self.action = Action.SIGNALED
        self.secure_action = Action.SIGNALED
        """What happens on secure interrupts of others: QUEUED or SIGNALED."""
        self.managed_exit_fiq = True
        """It is told of a managed exit by its vFIQ, not by its vIRQ."""
        self.power_messages = 0
        """What it has subscribed to (manifest: power-management-messages)."""
        self.sri_while_waiting = False
        """Its interrupts do not wake it: the normal world is asked to schedule it."""
        self.sri_on_wait = False
        """It may wait with interrupts pending: the normal world is asked to schedule it."""
        self.gets_ipis = False
        """One of its contexts has interrupted another that was waiting."""

    @property
    def waits_with_interrupts(self) -> bool:
        """Whether a context of it may be WAITING though an interrupt is pending for it."""
        return self.sri_while_waiting or self.sri_on_wait or self.gets_ipis


class Vm(Booted):
    """A virtual machine."""

    __slots__ = (
        "begun",
        "gic",
        "home",
        "interrupts",
        "may_schedule",
        "paravirtual",
        "pinned",
        "window",
    )

    def __init__(self, **identity: Unpack[Identity]) -> None:
        super().__init__(secure=False, **identity)
        self.begun = False
        """The hypervisor has begun to let it come into being."""
        self.may_schedule = False
        self.paravirtual = False
        """It is a secondary VM of a primary one, as of Hafnium."""
        self.home = 0
        """The PE on which the only vCPU of a UP VM starts."""
        self.gic: Gic | None = None
        self.interrupts: frozenset[int] = frozenset()
        """Physical interrupts that are passed to it."""
        self.window: tuple[int, int] | None = None
        self.pinned: dict[int, int] = {}


class World(Partition):
    """The normal world as the SPMC or EL3 sees it. Its contexts, one a PE, are its gates."""

    __slots__ = ()

    gateway = True
    may_schedule = True

    def __init__(self, **identity: Unpack[Identity]) -> None:
        super().__init__(secure=False, **identity)


def sp_of(partition: Partition) -> Sp:
    """`partition`, of which is known that it is an SP."""
    assert isinstance(partition, Sp)
    return partition


def vm_of(partition: Partition) -> Vm:
    """`partition`, of which is known that it is a VM."""
    assert isinstance(partition, Vm)
    return partition
