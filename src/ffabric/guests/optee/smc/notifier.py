"""Asynchronous notifications below EL3: values that the normal world fetches after an interrupt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from ffabric.abi.optee.rpc import ASYNC_VALUE_MAX
from ffabric.abi.optee.smc import (
    ASYNC_NOTIF_DO_BOTTOM_HALF,
    ASYNC_NOTIF_PENDING,
    ASYNC_NOTIF_VALID,
)
from ffabric.guests.optee.notifications import Notifier

if TYPE_CHECKING:
    from ffabric.guests.optee.place import Place
    from ffabric.guests.optee.threads import Thread

_ISPENDR: Final = 0x200
"""GICD_ISPENDR<n> (Arm IHI 0069): a bit for each interrupt."""


class SmcNotifier(Notifier):
    """The values of a bank, and the SPI ``intid`` that says that there are some."""

    def __init__(self, drivers: list[Callable[[Thread], Awaitable[None]]], intid: int) -> None:
        super().__init__(drivers)
        self._intid = intid
        self._values = 0

    def enable(self) -> None:
        """ENABLE_ASYNC_NOTIF."""
        self.started = True

    async def signal(self, place: Place, value: int | None = None) -> None:
        """See `Notifier.signal`: the value itself is fetched, or that a bottom half is due."""
        if not self.started:
            return
        sent = ASYNC_NOTIF_DO_BOTTOM_HALF if value is None else value
        if not 0 <= sent <= ASYNC_VALUE_MAX:
            raise ValueError(f"{sent} is not a value of an asynchronous notification")
        self._values |= 1 << sent
        register = place.vcpu.gic.distributor + _ISPENDR + self._intid // 32 * 4
        place.memory.write(register, (1 << self._intid % 32).to_bytes(4, "little"))

    def fetch(self) -> tuple[int, int]:
        """GET_ASYNC_NOTIF_VALUE: the lowest value, and whether it is one and there are more."""
        values = self._values
        if not values:
            return 0, 0
        self._values &= values - 1
        more = ASYNC_NOTIF_PENDING if self._values else 0
        return (values & -values).bit_length() - 1, ASYNC_NOTIF_VALID | more
