"""Notifications: FFA_NOTIFICATION_* (DEN0077A 1.2, chapters 10 and 16)."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications as abi
from ffabric.abi.ffa.accessors import result_reader, writer
from ffabric.abi.ffa.options import NotificationFlags, NotificationSources
from ffabric.abi.words import join
from ffabric.guests.calls.both_ways import both_ways
from ffabric.guests.calls.channel import Channel
from ffabric.system.vcpu import Peer

OS_KERNEL = 0
"""Endpoint id of an OS kernel without a hypervisor, to which no VM sends anything."""
_FROM_SECURE_WORLD = NotificationSources.SP | NotificationSources.SPM
_FROM_ALL = _FROM_SECURE_WORLD | NotificationSources.VM | NotificationSources.HYPERVISOR

_bind = writer(fid.FFA_NOTIFICATION_BIND, "sender", "receiver", "flags", "notifications")
_unbind = writer(fid.FFA_NOTIFICATION_UNBIND, "sender", "receiver", "notifications")
_set = writer(fid.FFA_NOTIFICATION_SET, "sender", "receiver", "flags", "notifications")
_get = writer(fid.FFA_NOTIFICATION_GET, "vcpu", "receiver", "flags")
_read_got = result_reader(
    fid.FFA_NOTIFICATION_GET, "from_sps", "from_vms", "from_spm", "from_hypervisor"
)


class NotificationCalls(Channel):
    """The notification calls. Each of the 64 bits of a ``bitmap`` is one notification."""

    @both_ways
    async def notification_bind(
        self, sender: Peer, bitmap: int, flags: NotificationFlags | int = 0
    ) -> None:
        """FFA_NOTIFICATION_BIND: allow ``sender`` to set ``bitmap`` for the caller."""
        call = _bind(self.resolve(sender), self.vcpu.endpoint, int(flags), bitmap)
        await self._ffa(*call)

    @both_ways
    async def notification_unbind(self, sender: Peer, bitmap: int) -> None:
        """FFA_NOTIFICATION_UNBIND: no longer allow ``sender`` to set ``bitmap``."""
        await self._ffa(*_unbind(self.resolve(sender), self.vcpu.endpoint, bitmap))

    @both_ways
    async def notification_set(
        self, receiver: Peer, bitmap: int, flags: NotificationFlags | int = 0
    ) -> None:
        """FFA_NOTIFICATION_SET: signal ``bitmap``. Bits 31:16 of ``flags`` are a vCPU id."""
        call = _set(self.vcpu.endpoint, self.resolve(receiver), int(flags), bitmap)
        await self._ffa(*call)

    @both_ways
    async def notification_get(
        self, flags: NotificationSources | int | None = None, vcpu: int = 0
    ) -> tuple[int, int, int]:
        """FFA_NOTIFICATION_GET: the bitmaps set by SPs, by VMs and by the framework.

        If ``flags`` is None, those of every sender that can signal the caller are asked for.
        """
        if flags is None:
            flags = _FROM_SECURE_WORLD if self.endpoint == OS_KERNEL else _FROM_ALL
        x = await self._ffa(*_get(vcpu, self.vcpu.endpoint, int(flags)))
        from_sps, from_vms, from_spm, from_hypervisor = _read_got(x)
        return from_sps, from_vms, join(from_spm, from_hypervisor)

    @both_ways
    async def notification_info_get(self) -> abi.PendingInfo:
        """FFA_NOTIFICATION_INFO_GET: which endpoints and vCPUs have notifications pending.

        Raises FfaError (NO_DATA) if there are none.
        """
        x = await self._bare(fid.FFA_NOTIFICATION_INFO_GET_64)
        return abi.parse_pending(x[2:8], smc64=True)
