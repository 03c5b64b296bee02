"""What a driver side waits for: notifications, messages in RX, or that time passes.

Whoever waits for an answer does so with a `Wait`, which ends by itself: a device side that is
silent, slow or stopped holds up only who has asked it, and no longer than its patience. Pauses grow
from giving others their turn to sleeping on the virtual timer, so that waiting costs nothing.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications
from ffabric.abi.ffa.messages import Message
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import MASK32
from ffabric.guests import interrupts
from ffabric.guests.calls.messages import direct_message
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.virtio_msg.driver.bus import OutOfPatience
from ffabric.machine.clock import NS_PER_TICK
from ffabric.machine.devices.generic_timer import CTL_ENABLE, PPI_VIRTUAL
from ffabric.system.vcpu import UndefinedRegister

if TYPE_CHECKING:
    from ffabric.guests.virtio_msg.driver.shared_areas import SharedAreas

PATIENCE: Final = 5_000_000_000
"""Nanoseconds that a driver side waits for an answer (Linux: 5 s)."""
LOOKS: Final = 100_000
"""How often who has no counter looks for an answer."""
RX_FULL: Final = notifications.RX_BUFFER_FULL_SPM | notifications.RX_BUFFER_FULL_HYPERVISOR
_ALL = (
    notifications.GET_FROM_SP
    | notifications.GET_FROM_VM
    | notifications.GET_FROM_SPM
    | notifications.GET_FROM_HYPERVISOR
)
_REQUESTS = frozenset(
    {
        fid.FFA_MSG_SEND_DIRECT_REQ_32,
        fid.FFA_MSG_SEND_DIRECT_REQ_64,
        fid.FFA_MSG_SEND_DIRECT_REQ2,
    }
)
_TURNS = 16
"""Pauses in which others only get their turn."""
_SHORTEST, _LONGEST = 10_000, 10_000_000
"""Nanoseconds of the pauses after those: they double."""


class Attention:
    """What notifications have told the partition, until somebody has seen to it.

    With `by_interrupt` the partition's interrupt handler calls `notified`, and waiting is WFI;
    without, waiting gives others their turn and looks. With `timer` it passes on interrupts of the
    virtual timer to `interrupted`, and pauses are sleep. `patience` is in nanoseconds.
    """

    def __init__(
        self, ffa: Ffa, *, by_interrupt: bool, timer: bool = False, patience: int = PATIENCE
    ) -> None:
        self.by_interrupt = by_interrupt
        self.timer = timer
        self.patience = patience
        self.listening: bool = False
        """Something may come that is not asked for: a notification, or a message in RX."""
        self.bits: int = 0
        self.rx_full: bool = False
        self.given_up: dict[int, int] = {}
        """By peer: what to run until it has answered a direct request that was given up."""
        self.tokens: dict[int, int] = {}
        """By peer: the token of the next request; a bus that is opened anew goes on with it."""
        self.bound: set[int] = set()
        """Notifications that are bound."""
        self.left: dict[int, list[SharedAreas]] = {}
        """By peer: the areas of buses that are closed, or could not be opened, and are not back."""
        self._inbox: dict[int, deque[bytes]] = {}
        """Messages that have come, by sender."""
        self._ffa = ffa
        self._timer_enabled = False

    def notified(self, from_sps: int, from_vms: int, framework: int) -> None:
        """The three bitmaps of FFA_NOTIFICATION_GET."""
        self.bits |= from_sps | from_vms
        self.rx_full |= bool(framework & RX_FULL)

    def interrupted(self, intid: int) -> None:
        """An interrupt that is not the Notification Pending Interrupt."""
        if intid == PPI_VIRTUAL:
            self._ffa.vcpu.msr("CNTV_CTL_EL0", 0)

    def now(self) -> int | None:
        """Nanoseconds since power-on; None: the vCPU has no counter."""
        try:
            return self._ffa.vcpu.mrs("CNTVCT_EL0") * NS_PER_TICK
        except UndefinedRegister:
            return None

    async def wait(self, nanoseconds: int | None) -> None:
        """Until something may have happened, or that time has passed (None: others have run)."""
        if self.timer and nanoseconds is not None:
            await self._sleep(nanoseconds)
        elif self.by_interrupt and not self._ffa.vcpu.secure:
            await self._ffa.idle()
        else:
            await self.turn()
            return
        await self.look()

    async def turn(self) -> None:
        """Give others their turn.

        An SP that nobody has called waits for messages meanwhile, as it has no other way to give
        cycles back; a direct request that comes is answered with zeros.
        """
        ffa = self._ffa
        if ffa.vcpu.secure:
            x = await ffa.msg_wait(retain_rx=True)
            while x[0] & MASK32 in _REQUESTS:
                x = await ffa.call(*direct_message(x).respond())
        else:
            await ffa.yield_()
        await self.look()

    async def give_way(self) -> None:
        """Let the device side read what is in its RX, which nobody says that it has done.

        An SP yields, so that it is run again though nothing has come for it; before anybody has run
        it, it cannot.
        """
        if self._ffa.vcpu.secure:
            try:
                await self._ffa.yield_()
            except FfaError as error:
                if error.status is not Status.DENIED:
                    raise
            else:
                await self.look()
                return
        await self.turn()

    async def _sleep(self, nanoseconds: int) -> None:
        vcpu = self._ffa.vcpu
        if not self._timer_enabled:
            self._timer_enabled = True
            await interrupts.controller(self._ffa).enable(self._ffa, PPI_VIRTUAL)
        vcpu.msr("CNTV_CVAL_EL0", vcpu.mrs("CNTVCT_EL0") + nanoseconds // NS_PER_TICK)
        vcpu.msr("CNTV_CTL_EL0", CTL_ENABLE)
        await self._ffa.idle()
        vcpu.msr("CNTV_CTL_EL0", 0)

    async def look(self) -> None:
        """Fetch what is pending, if anything can be and no interrupt does so."""
        if self.listening and not self.by_interrupt:
            ffa = self._ffa
            self.notified(*await ffa.notification_get(_ALL, ffa.vcpu.index))

    async def receive(self, sender: int) -> bytes | None:
        """The first message of a sender that has not been taken; those of others are kept."""
        if self.rx_full:
            self.rx_full = False
            message = await self._take()
            if message is not None:
                self._inbox.setdefault(message.sender, deque()).append(message.payload)
        waiting = self._inbox.get(sender)
        return waiting.popleft() if waiting else None

    async def _take(self) -> Message | None:
        """What is in RX; None for no message.

        Who looks for device sides releases RX, whatever was told of it before.
        """
        try:
            try:
                return await self._ffa.receive()
            except DecodeError:
                await self._ffa.rx_release()
        except FfaError as error:
            if error.status is not Status.DENIED:
                raise
        return None

    def has_message(self, sender: int) -> bool:
        """Whether a message of a sender may be there."""
        return self.rx_full or bool(self._inbox.get(sender))


class Wait:
    """A wait for one thing, from its first pause on; ``what`` is said if it does not come.

    `for_ever`: only whoever is woken by interrupts waits without a bound, others poll.
    `announced`: an interrupt says that it has come; else it has to be asked for again.
    """

    def __init__(
        self, attention: Attention, what: str, *, for_ever: bool = False, announced: bool = True
    ) -> None:
        self._attention = attention
        self._by_interrupt = announced and attention.by_interrupt
        self._what = what
        self._for_ever = for_ever and self._by_interrupt
        self._pauses = 0
        self._end: int | None = None

    async def pause(self) -> None:
        """Until something may have happened. Raises OutOfPatience when it has taken too long."""
        attention = self._attention
        self._pauses += 1
        if self._for_ever:
            await attention.wait(None)
            return
        left = self._left()
        if left <= 0:
            raise OutOfPatience(self._what)
        if self._by_interrupt:
            await attention.wait(left)
        elif self._pauses <= _TURNS or not attention.timer:
            await attention.turn()
        else:
            step = _SHORTEST << min(self._pauses - _TURNS, 16)
            await attention.wait(min(step, _LONGEST, left))

    def check(self) -> None:
        """No pause. Raises OutOfPatience if it has taken too long all the same."""
        self._pauses += 1
        if not self._for_ever and self._left() <= 0:
            raise OutOfPatience(self._what)

    def _left(self) -> int:
        now = self._attention.now()
        if now is None:
            return LOOKS - self._pauses
        if self._end is None:
            self._end = now + self._attention.patience
        return self._end - now
