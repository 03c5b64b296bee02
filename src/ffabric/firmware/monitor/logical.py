"""Logical partitions at EL3: services of the monitor with an endpoint id of their own.

They have no execution context: a direct request to one is a function call at EL3 (DEN0077A 1.2,
section 4.2). Their ids lie from 0xffc0. A system says which there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.accessors import reader
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import MASK32, pack_ids
from ffabric.firmware.state import events, reply

if TYPE_CHECKING:
    from ffabric.machine.context import PE
    from ffabric.machine.events import Tracer

FIRST_ID = 0xFFC0
_read_sender = reader(fid.FFA_MSG_SEND_DIRECT_REQ_64, "sender")
read_receiver = reader(fid.FFA_MSG_SEND_DIRECT_REQ_64, "receiver")
_RESPONSES = {
    fid.FFA_MSG_SEND_DIRECT_REQ_32: fid.FFA_MSG_SEND_DIRECT_RESP_32,
    fid.FFA_MSG_SEND_DIRECT_REQ_64: fid.FFA_MSG_SEND_DIRECT_RESP_64,
    fid.FFA_MSG_SEND_DIRECT_REQ2: fid.FFA_MSG_SEND_DIRECT_RESP2,
}


class LogicalPartition:
    """A service at EL3; ``serve`` maps the payload of a request to that of the response.

    Without ``serve`` it receives no requests: it is there to be discovered, and to send.
    """

    def __init__(
        self,
        partition_id: int,
        name: str,
        uuid: UUID,
        serve: Callable[[list[int]], list[int]] | None = None,
    ) -> None:
        self.id = partition_id
        self.name = name
        self.uuid = uuid
        self.serve = serve
        self.properties = info.DIRECT_REQ_SEND | info.AARCH64
        if serve is not None:
            self.properties |= info.DIRECT_REQ_RECEIVE | info.DIRECT_REQ2_RECEIVE

    def describe(self) -> info.PartitionInfo:
        """What discovery tells about it."""
        return info.PartitionInfo(self.id, 1, self.properties, self.uuid)

    def request(self, x: list[int]) -> None:
        """Answer the direct request in ``x`` in place."""
        assert self.serve is not None
        function = x[0] & MASK32
        sender = _read_sender(x)
        last = 18 if function == fid.FFA_MSG_SEND_DIRECT_REQ2 else 8
        first = 4 if last == 18 else 3
        payload = self.serve(x[first:last])[: last - first]
        x[0] = _RESPONSES[function]
        x[1] = pack_ids(self.id, sender)
        x[2:first] = [0] * (first - 2)
        x[first:last] = payload + [0] * (last - first - len(payload))


class LogicalPartitions:
    """Those of a monitor, by their ids."""

    def __init__(self, partitions: Iterable[LogicalPartition]) -> None:
        self.tracer: Tracer | None = None
        self._by_id = {each.id: each for each in partitions}
        self.ids = frozenset(self._by_id)

    def __contains__(self, endpoint: int) -> bool:
        return endpoint in self.ids

    def describe(self) -> list[info.PartitionInfo]:
        """What discovery tells about them."""
        return [each.describe() for each in self._by_id.values()]

    def request(self, pe: PE, x: list[int]) -> None:
        """Answer the direct request in ``x``, which is to one of them, in place."""
        partition = self._by_id[read_receiver(x)]
        if partition.serve is None:
            reply.error(x, Status.DENIED)
            return
        partition.request(x)
        if self.tracer is not None:
            self.tracer.record(events.Logical(pe.index, partition.name))


SPMD_PARTITION = LogicalPartition(FIRST_ID, "spmd-lp", UUID("ad438ee9-4f52-dbb7-57bf-a347e3f48815"))
"""The SPMD's own, with the id and UUID that TF-A gives it, if it is built with ENABLE_SPMD_LP."""
