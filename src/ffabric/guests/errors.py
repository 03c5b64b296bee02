"""What a call raises when it was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status, from_register

if TYPE_CHECKING:
    from ffabric.system.vcpu import Refusal, Vcpu


class FfaError(Exception):
    """A call was answered with FFA_ERROR.

    `status` is the status code, `function` the id of the function that was called. `refusal` is
    what the system knows beyond the ABI: the rule that refused, and the values it compared. It is
    None if no rule of the firmware refused the call.
    """

    __module__ = "ffabric"

    def __init__(self, status: Status, function: int, refusal: Refusal | None = None) -> None:
        name = fid.FUNCTIONS[function].name if function in fid.FUNCTIONS else f"{function:#x}"
        self.answer: str = f"{name}: {status.name}"
        """What the answer alone says, as software without ffabric would see it."""
        super().__init__(self.answer if refusal is None else f"{self.answer}, refused by {refusal}")
        self.status = status
        self.function = function
        self.refusal = refusal

    @property
    def rule(self) -> str:
        """The id of the rule that refused the call; "" if none did."""
        return "" if self.refusal is None else self.refusal.rule

    def __reduce__(self) -> tuple[type[FfaError], tuple[Status, int, Refusal | None]]:
        return FfaError, (self.status, self.function, self.refusal)


def status_of(register: int) -> Status:
    """The status in a register of a reply; an unassigned code counts as NOT_SUPPORTED."""
    return from_register(register) or Status.NOT_SUPPORTED


def error_of(vcpu: Vcpu, register: int, function: int) -> FfaError:
    """The error for the status in a register of the answer that ``vcpu`` has just got."""
    status = status_of(register)
    return FfaError(status, function, vcpu.refusal(status))
