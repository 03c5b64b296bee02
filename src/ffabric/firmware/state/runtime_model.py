"""Runtime models: which calls a context may make, given why it runs (DEN0077A 1.2, chapter 8).

A partition runtime model is the contract between the event that gave a context its cycles and the
ways in which it may give them back. The tables below are the models' state transitions; a call that
is missing from its model's row is refused with DENIED. Every model allows a direct request, for
which the context becomes BLOCKED.
"""

from __future__ import annotations

from typing import NoReturn

from ffabric.abi.ffa.status import Status
from ffabric.firmware.state.context import Model
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.firmware.state.rules import refuse, rule

TRANSITION = rule(
    "runtime.transition",
    Status.DENIED,
    "DEN0077A 1.2, sections 8.2 to 8.5",
    "The runtime model of the calling context allows the call.",
)

RESPONSE = (Model.DIR_REQ,)
"""Models that allow a direct response (the context becomes WAITING)."""

RUN = (Model.NONE, Model.NORMAL_WORLD, Model.RUN, Model.DIR_REQ, Model.SEC_INTERRUPT)
"""Models that allow FFA_RUN (the context becomes BLOCKED)."""

WAIT = (Model.NONE, Model.RUN, Model.SEC_INTERRUPT, Model.SP_INIT)
"""Models that allow FFA_MSG_WAIT (the context becomes WAITING)."""

YIELD = (Model.NONE, Model.RUN, Model.DIR_REQ, Model.SEC_INTERRUPT)
"""Models that allow FFA_YIELD (the context becomes BLOCKED, unless nobody has lent it cycles)."""


def deny(caller: ExecutionContext, allowed: tuple[Model, ...]) -> NoReturn:
    """Refuse the present call: the caller's runtime model is not among ``allowed``."""
    refuse(
        TRANSITION,
        got=caller.model.value,
        expected=" or ".join(sorted(model.value for model in allowed)),
    )
