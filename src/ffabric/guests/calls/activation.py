"""Live Firmware Activation, as the host's software asks EL3 for it (DEN0147 1.0)."""

from __future__ import annotations

from uuid import UUID

from ffabric.abi import lfa
from ffabric.abi.ffa.uuids import as_uuid, from_pair
from ffabric.guests.calls.both_ways import both_ways
from ffabric.guests.calls.channel import Channel


class ActivationCalls(Channel):
    """The calls with which a kernel, or the VM that schedules, has firmware replaced."""

    @both_ways
    async def activatable(self) -> dict[UUID, lfa.Component]:
        """LFA_GET_INFO and LFA_GET_INVENTORY: the images that EL3 can replace, with their flags."""
        x = await self._exit(lfa.LFA_GET_INFO, 0)
        count = x[1] if lfa.Return.of(x[0]) is lfa.Return.SUCCESS else 0
        found = {}
        for number in range(count):
            x = await self._exit(lfa.LFA_GET_INVENTORY, number)
            found[from_pair(x[1], x[2])] = lfa.Component(x[3])
        return found

    @both_ways
    async def activate(self, image: UUID | str, *, rendezvous: bool = False) -> lfa.Return:
        """LFA_PRIME and LFA_ACTIVATE of an image. Returns the last call's status.

        With ``rendezvous`` every PE has to make the call. Raises LookupError if EL3 has no such
        image.
        """
        wanted = as_uuid(image)
        known = [*await self.activatable()]
        if wanted not in known:
            raise LookupError(f"EL3 can replace no image {wanted}")
        number = known.index(wanted)
        x = await self._exit(lfa.LFA_PRIME, number)
        code = lfa.Return.of(x[0])
        if code is lfa.Return.SUCCESS:
            flags = 0 if rendezvous else lfa.SKIP_RENDEZVOUS
            x = await self._exit(lfa.LFA_ACTIVATE, number, flags)
            code = lfa.Return.of(x[0])
        return code
