"""Notifications: FFA_NOTIFICATION_* (DEN0077A 1.2, chapters 10 and 16)."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications as abi
from ffabric.abi.ffa.options import NotificationFlags, NotificationSources
from ffabric.abi.words import halves, join
from ffabric.guests.calls.both_ways import both_ways
from ffabric.guests.calls.channel import Channel
from ffabric.system.vcpu import Peer

OS_KERNEL = 0
"""Endpoint id of an OS kernel without a hypervisor, to which no VM sends anything."""
_FROM_SECURE_WORLD = NotificationSources.SP | NotificationSources.SPM
_FROM_ALL = _FROM_SECURE_WORLD | NotificationSources.VM | NotificationSources.HYPERVISOR
_NO_FLAGS = NotificationFlags(0)


class NotificationCalls(Channel):
    """The notification calls. A ``bitmap`` has a bit for each of 64 notifications."""

    @both_ways
    async def notification_bind(
        self, sender: Peer, bitmap: int, flags: NotificationFlags | int = _NO_FLAGS
    ) -> None:
        """FFA_NOTIFICATION_BIND: ``sender`` may set ``bitmap`` for the caller."""
        ids = self.resolve(sender) << 16 | self.vcpu.endpoint
        await self._ffa(fid.FFA_NOTIFICATION_BIND, ids, int(flags), *halves(bitmap))

    @both_ways
    async def notification_unbind(self, sender: Peer, bitmap: int) -> None:
        """FFA_NOTIFICATION_UNBIND: ``sender`` may not set ``bitmap`` any more."""
        ids = self.resolve(sender) << 16 | self.vcpu.endpoint
        await self._ffa(fid.FFA_NOTIFICATION_UNBIND, ids, 0, *halves(bitmap))

    @both_ways
    async def notification_set(
        self, receiver: Peer, bitmap: int, flags: NotificationFlags | int = _NO_FLAGS
    ) -> None:
        """FFA_NOTIFICATION_SET: signal ``bitmap``; bits 31:16 of ``flags`` name a vCPU."""
        ids = self.vcpu.endpoint << 16 | self.resolve(receiver)
        await self._ffa(fid.FFA_NOTIFICATION_SET, ids, int(flags), *halves(bitmap))

    @both_ways
    async def notification_get(
        self, flags: NotificationSources | int | None = None, vcpu: int = 0
    ) -> tuple[int, int, int]:
        """FFA_NOTIFICATION_GET: bitmaps from SPs, from VMs, from the framework.

        ``flags`` None: from everybody who can set notifications for the caller.
        """
        if flags is None:
            flags = _FROM_SECURE_WORLD if self.endpoint == OS_KERNEL else _FROM_ALL
        who = vcpu << 16 | self.vcpu.endpoint
        x = await self._ffa(fid.FFA_NOTIFICATION_GET, who, int(flags))
        return join(x[2], x[3]), join(x[4], x[5]), join(x[6], x[7])

    @both_ways
    async def notification_info_get(self) -> abi.PendingInfo:
        """FFA_NOTIFICATION_INFO_GET: whom a scheduler should run; NO_DATA if there is nobody."""
        x = await self._ffa(fid.FFA_NOTIFICATION_INFO_GET_64)
        return abi.parse_pending(x[2:8], smc64=True)
