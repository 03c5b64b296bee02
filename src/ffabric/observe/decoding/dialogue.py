"""Direct messages in the terms of the service that they are for.

A trace's header says which services an endpoint has. Where one of them is known here, its requests
and responses are told in words; a response is read with the request that it answers, which came to
the same PE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.flags import FRAMEWORK_MESSAGE
from ffabric.abi.ffa.uuids import from_pair
from ffabric.abi.optee.ffa import OPTEE_UUID
from ffabric.abi.words import MASK32, unpack_ids
from ffabric.observe.decoding import optee, virtio_msg
from ffabric.observe.lines import Header

_REQUESTS = frozenset({fid.FFA_MSG_SEND_DIRECT_REQ_32, fid.FFA_MSG_SEND_DIRECT_REQ_64})
_RESPONSES = frozenset({fid.FFA_MSG_SEND_DIRECT_RESP_32, fid.FFA_MSG_SEND_DIRECT_RESP_64})


class Service(NamedTuple):
    """How the messages of a service read, given w3 to w7."""

    request: Callable[[Sequence[int]], str]
    response: Callable[[Sequence[int], Sequence[int]], str]


SERVICES: Final[dict[UUID, Service]] = {OPTEE_UUID: Service(optee.request, optee.response)}


class Dialogue:
    """The direct messages of a trace, as they come."""

    def __init__(self) -> None:
        self._services: dict[int, Service] = {}
        self._asked: dict[tuple[int, int], list[int]] = {}
        self._named: dict[tuple[int, int], bool] = {}
        """Whether the service that the last REQ2 has named is known."""

    def header(self, header: Header) -> None:
        """The header of the trace: who offers what."""
        for name, uuids in header.services.items():
            for uuid in uuids:
                service = SERVICES.get(UUID(uuid))
                if service is not None and name in header.endpoints:
                    self._services[header.endpoints[name]] = service

    def hear(self, pe: int, registers: Sequence[int]) -> None:
        """Take note of a direct request, with which its response is read."""
        function = registers[0] & MASK32
        if function == fid.FFA_MSG_SEND_DIRECT_REQ2:
            _, receiver = unpack_ids(registers[1])
            uuid = from_pair(registers[2], registers[3])
            self._named[pe, receiver] = uuid in virtio_msg.UUIDS
        elif function in _REQUESTS and self._services and not registers[2] & FRAMEWORK_MESSAGE:
            _, receiver = unpack_ids(registers[1])
            self._asked[pe, receiver] = [word & MASK32 for word in registers[3:8]]

    def text(self, pe: int, registers: Sequence[int]) -> str:
        """What a direct message says; nothing if it is none, or nobody knows its service."""
        self.hear(pe, registers)
        function = registers[0] & MASK32
        sender, receiver = unpack_ids(registers[1])
        if function == fid.FFA_MSG_SEND_DIRECT_REQ2:
            known = self._named[pe, receiver]
            return virtio_msg.registers(registers[4:18]) if known else ""
        if function == fid.FFA_MSG_SEND_DIRECT_RESP2:
            known = self._named.get((pe, sender), False)
            return virtio_msg.registers(registers[4:18]) if known else ""
        if not self._services or registers[2] & FRAMEWORK_MESSAGE:
            return ""
        words = [word & MASK32 for word in registers[3:8]]
        if function in _REQUESTS:
            service = self._services.get(receiver)
            return service.request(words) if service is not None else ""
        if function in _RESPONSES:
            service = self._services.get(sender)
            asked = self._asked.get((pe, sender))
            if service is not None and asked is not None:
                return service.response(asked, words)
        return ""
