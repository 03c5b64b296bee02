"""The activation of a new image of an SP that is under way (DEN0077A 1.3 ALP2)."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from ffabric.abi.ffa import framework

if TYPE_CHECKING:
    from ffabric.firmware.state.endpoints import Sp


class Phase(enum.Enum):
    """How far it is."""

    STOPPING = framework.LIVE_ACTIVATION_START
    STOPPED = 0
    STARTING = framework.LIVE_ACTIVATION_FINISH


class Activation:
    """What the SPMC keeps of the activation that is under way."""

    __slots__ = ("address", "initiator", "pages", "phase", "sp")

    def __init__(self, sp: Sp, initiator: int, address: int, pages: int) -> None:
        self.sp = sp
        self.initiator = initiator
        """The ID of the logical partition at EL3 that asked for it."""
        self.address = address
        """The physical address of the new image."""
        self.pages = pages
        self.phase = Phase.STOPPING
