"""The pseudo TA that lists TAs which the normal world's kernel is to know as devices."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar
from uuid import UUID

from ffabric.abi.optee.message import Type
from ffabric.abi.optee.tee import Result
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.tas.ta import Enumerated, Params, TaSession, TrustedApp


class Command(IntEnum):
    """What it is asked for (OP-TEE 4.10, pta_device.h): memref[0] gets UUIDs."""

    GET_DEVICES = 0
    GET_DEVICES_SUPP = 1


_LISTED = {
    Command.GET_DEVICES: Enumerated.AT_BOOT,
    Command.GET_DEVICES_SUPP: Enumerated.WITH_SUPPLICANT,
}


class DeviceEnumeration(TrustedApp):
    """Device enumeration."""

    uuid: ClassVar[UUID] = UUID("7011a688-ddde-4053-a5a9-7b3c4ddf13b8")
    memory: ClassVar[int] = 0

    def __init__(self, listed: Mapping[UUID, Enumerated]) -> None:
        self._listed = listed

    async def invoke(self, session: TaSession, command: int, params: Params) -> None:
        """The UUIDs, 16 octets each."""
        when = _LISTED.get(command)  # type: ignore[call-overload]
        if when is None:
            raise TeeError(Result.NOT_IMPLEMENTED)
        params.expect(Type.FMEM_OUTPUT)
        found = [uuid.bytes for uuid, listed in self._listed.items() if listed is when]
        params.memref(0).write(b"".join(found))
