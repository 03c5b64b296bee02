"""Asynchronous notifications: OP-TEE tells the normal world to come and do its bottom half.

The top half (the handler of a device's interrupt, say) calls `signal`: FFA_NOTIFICATION_SET of the
one notification that the VM named with ENABLE_ASYNC_NOTIF. The VM's driver then makes the yielding
call DO_BOTTOM_HALF, and in its thread OP-TEE can do what takes time: it notifies the normal world
of the values that were signalled, so that whoever waits for them goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ffabric.abi.ffa.notifications import DELAY_SCHEDULE_RECEIVER
from ffabric.abi.optee.ffa import MAX_ASYNC_NOTIF_VALUE
from ffabric.abi.optee.tee import Result
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.optee.error import TeeError

if TYPE_CHECKING:
    from ffabric.guests.optee.place import Place
    from ffabric.guests.optee.threads import Thread


class Notifier:
    """The notifications of a bank. `drivers` are called in each bottom half."""

    def __init__(self, drivers: list[Callable[[Thread], Awaitable[None]]]) -> None:
        self.started: bool = False
        self._drivers = drivers
        self._vm = 0
        self._bottom_half = 0
        self._pending: list[int] = []

    def start(self, vm: int, bottom_half: int) -> int:
        """ENABLE_ASYNC_NOTIF of `vm`: the result in w3."""
        if bottom_half >= MAX_ASYNC_NOTIF_VALUE:
            return Result.BAD_PARAMETERS
        self._vm, self._bottom_half = vm, bottom_half
        self.started = True
        return Result.SUCCESS

    def stop(self) -> None:
        """The normal world takes no notifications any more."""
        self.started = False

    async def signal(self, place: Place, value: int | None = None) -> None:
        """Have a bottom half done, in which the normal world is notified of `value`."""
        if not self.started:
            return
        assert isinstance(place, Ffa)
        if value is not None and value not in self._pending:
            self._pending.append(value)
        with suppress(FfaError):  # the VM may have unbound the notification, or be gone
            await place.notification_set(self._vm, 1 << self._bottom_half, DELAY_SCHEDULE_RECEIVER)

    async def bottom_half(self, thread: Thread) -> None:
        """DO_BOTTOM_HALF."""
        if not self.started:
            return
        for driver in self._drivers:
            await driver(thread)
        while self._pending:
            with suppress(TeeError):  # nobody may be waiting
                await thread.send(self._pending.pop(0))
