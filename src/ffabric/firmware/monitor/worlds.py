"""The two worlds as the monitor sees them: who has a PE there, and how it comes and goes.

On each PE a world has one context that makes its SMCs and gets their answers: its *gate*. Of the
secure world that is the SPMC's, of the normal world the hypervisor's, or the OS kernel's own
context where there is no hypervisor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ffabric.abi.ffa.framework import PowerMessages
    from ffabric.firmware.state.endpoints import World
    from ffabric.firmware.state.partition import ExecutionContext, Next
    from ffabric.machine.context import PE
    from ffabric.machine.machine import Machine


class Cpu:
    """What the monitor keeps of one PE."""

    __slots__ = (
        "activates",
        "argument",
        "entry",
        "in_el3",
        "is_lent",
        "is_started",
        "is_suspended",
        "others",
        "telling",
        "waker",
    )

    def __init__(self) -> None:
        self.is_started = False
        """Its normal world runs."""
        self.is_lent = False
        """The scheduler has given it to an SP: nobody waits for what the SP answers."""
        self.entry = 0
        """Where its normal world begins: the entry point of PSCI's CPU_ON."""
        self.argument = 0
        self.others: Mapping[int, int] = {}
        """What is in x0 then: the context ID of CPU_ON."""
        self.waker = 0
        """The function ID of the CPU_ON that has turned it on, until SPs know."""
        self.telling: tuple[PowerMessages, ExecutionContext | None] | None = None
        """What SPs are being told, and whose call that is."""
        self.is_suspended = False
        """It waits in CPU_SUSPEND, and SPs are to be told when it goes on."""
        self.in_el3 = False
        """It waits at EL3, where it takes no interrupts."""
        self.activates = False
        """An SP runs there to be activated: EL3 is told when it gives the PE back."""


class NormalWorld(Protocol):
    """A hypervisor, or an OS kernel."""

    gates: list[ExecutionContext]

    def boot(self, pe: PE) -> Next:
        """The secure world of ``pe`` is ready: begin."""

    def returned(self, pe: PE, gate: ExecutionContext) -> Next:
        """The SMC of ``gate`` has its answer."""

    def resumed(self, pe: PE) -> Next:
        """The secure world took ``pe`` for its own purposes and gives it back."""

    def leave(self, pe: PE) -> None:
        """``pe`` goes to an SP that nobody has called."""


class SecureCpu(Protocol):
    """What the secure world keeps of one PE."""

    delayed_sri: bool
    """Something was put off until the PE goes to the normal world."""


class SecureWorld(Protocol):
    """An SPMC."""

    gates: list[ExecutionContext]

    @property
    def cpus(self) -> Sequence[SecureCpu]:
        """A record of each PE."""

    spm_id: int
    normal_world: World

    def boot(self, pe: PE) -> Next:
        """Initialise what runs on ``pe``."""

    def trap(self, pe: PE, gate: ExecutionContext, exit_: int) -> Next:
        """The normal world has made the call in the registers of ``gate``."""

    def admits(self, pe: PE, caller: ExecutionContext) -> bool:
        """Judge the reserved registers of a call that EL3 answers; False: it is refused."""

    def leaving(self, pe: PE) -> None:
        """``pe`` goes to the normal world: what was put off until then is due."""

    def power_event(self, pe: PE, event: int, message: int, *payload: int) -> None:
        """Subscribers of an event are to be told with a framework message: its w3 and on."""

    def tell_next(self, pe: PE) -> Next:
        """The context of the next one, with the message; None: all have been told."""

    def power_status(self, pe: PE) -> int:
        """The status that the one told last has answered."""

    def forget_power_event(self, pe: PE) -> None:
        """Nobody else is to be told."""

    def powered_off(self, pe: PE) -> None:
        """``pe`` is off: what waits there begins anew when it is on again."""

    def activate(self, pe: PE, x: list[int]) -> Next:
        """A framework message about live activation; the gate, if its registers have the answer."""

    def activation_goes_on(self, pe: PE) -> None:
        """The SP that is being activated has given ``pe`` back: the gate gets the answer."""


class WorldSwitch(Protocol):
    """What PSCI and the dispatcher of a trusted OS need of the monitor."""

    machine: Machine
    cpus: list[Cpu]
    power_state: str

    def power_on(self, pe: PE) -> None:
        """Start ``pe``: the secure world initialises first, then the normal world is entered."""

    def suspended(self, pe: PE) -> None:
        """``pe`` has called CPU_SUSPEND, and gives way until an interrupt is pending."""

    def enter_normal(self, pe: PE) -> Next:
        """The secure world of ``pe`` is ready: start the normal world."""

    def to_secure(self, pe: PE) -> None:
        """``pe`` goes from the normal world to the secure world."""

    def to_normal(self, pe: PE) -> None:
        """``pe`` goes from the secure world to the normal world."""

    def power_call(self, pe: PE, caller: ExecutionContext) -> Next:
        """Make the PSCI call of ``caller``: who is to hear of it has."""

    def answered(self, pe: PE, caller: ExecutionContext) -> Next:
        """The SMC of ``caller`` has its answer."""

    def resumed(self, pe: PE) -> Next:
        """The secure world took ``pe`` for its own purposes and gives it back."""
