"""FF-A as software at EL1 or EL0 uses it: every call as a step.

:class:`Ffa` is for a Python partition (``await ffa.share(...)``), :class:`DrivenFfa` for a test
that drives a vCPU (``ffa.share(...)``); both are :class:`Calls`. Nothing here knows more than the
ABI tells: an FFA_ERROR raises :class:`FfaError` with its status.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import messages, notifications
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.ffa.uuids import NIL, to_pair, to_words
from ffabric.abi.words import MASK32, PAGE, halves
from ffabric.guests.memory_calls import MemoryCalls
from ffabric.guests.steps import Steps, Waiting, step
from ffabric.machine import exits
from ffabric.system.vcpu import Vcpu

if TYPE_CHECKING:
    from ffabric.machine.engines.driven import DrivenRunner

ERROR = fid.FFA_ERROR


class FfaError(Exception):
    """A call was answered with FFA_ERROR."""

    def __init__(self, status: Status, function: int) -> None:
        name = fid.FUNCTIONS[function].name if function in fid.FUNCTIONS else f"{function:#x}"
        super().__init__(f"{name}: {status.name}")
        self.status = status
        self.function = function


def status_of(register: int) -> Status:
    """The status in a register of a reply; an unassigned code counts as NOT_SUPPORTED."""
    return from_register(register) or Status.NOT_SUPPORTED


class Blocked(Exception):  # noqa: N818 - a state of the call, not an error
    """The call has not returned: whoever has control now must act first."""


class DirectMessage(msgspec.Struct, frozen=True):
    """A direct request or response: ids and payload words (w3-w7, or x4-x17 for REQ2)."""

    function: int
    sender: int
    receiver: int
    payload: tuple[int, ...]
    uuid: UUID = NIL

    def respond(self, *payload: int) -> list[int]:
        """The registers that answer this request with ``payload``."""
        ids = self.receiver << 16 | self.sender
        if self.function == fid.FFA_MSG_SEND_DIRECT_REQ2:
            return [fid.FFA_MSG_SEND_DIRECT_RESP2, ids, 0, 0, *payload]
        return [self.function + 1, ids, 0, *payload]


def direct_message(x: Sequence[int]) -> DirectMessage:
    """The direct message in the registers of a vCPU."""
    function = x[0] & MASK32
    ids = x[1]
    if function in (fid.FFA_MSG_SEND_DIRECT_REQ2, fid.FFA_MSG_SEND_DIRECT_RESP2):
        raw = x[2].to_bytes(8, "little") + x[3].to_bytes(8, "little")
        return DirectMessage(
            function, ids >> 16 & 0xFFFF, ids & 0xFFFF, tuple(x[4:18]), UUID(bytes=raw)
        )
    return DirectMessage(function, ids >> 16 & 0xFFFF, ids & 0xFFFF, tuple(x[3:8]))


class Calls(MemoryCalls):
    """The FF-A calls of one vCPU.

    ``endpoint`` is its endpoint id once it has asked, ``buffers`` the RX/TX pair of the partition,
    which all its vCPUs use. Whatever needs buffers maps them first.
    """

    def __init__(self, vcpu: Vcpu) -> None:
        self.vcpu = vcpu
        self.ctx = vcpu.ctx
        self.x = vcpu.ctx.x
        self.memory = vcpu.memory
        self.ram = vcpu.ram
        self.conduit = vcpu.conduit
        self.version = vcpu.version
        self.resolve = vcpu.resolve
        self.endpoint = 0
        self.buffers = vcpu.buffers

    @property
    def tx(self) -> int:
        """The IPA of TX; 0: there is none."""
        return self.buffers.tx

    @property
    def rx(self) -> int:
        """The IPA of RX; 0: there is none."""
        return self.buffers.rx

    def _raw(self, *registers: int) -> Steps[list[int]]:
        """Make the call in ``registers``; the live registers with the answer."""
        x = self.x
        x[:] = registers + _ZEROS[len(registers)]
        yield self.conduit
        return x

    def _ffa(self, *registers: int) -> Steps[list[int]]:
        """The same, with FFA_ERROR raised."""
        x = self.x
        x[:] = registers + _ZEROS[len(registers)]
        yield self.conduit
        if x[0] & MASK32 == ERROR:
            raise FfaError(status_of(x[2]), registers[0])
        return x

    @step
    def call(self, *registers: int) -> Steps[tuple[int, ...]]:
        """Any call: the 18 registers it returns with, FFA_ERROR included."""
        x = yield from self._raw(*registers)
        return tuple(x)

    # Setup and discovery.

    @step
    def negotiate(self, version: int) -> Steps[int]:
        """FFA_VERSION: the callee's version. Raises FfaError if it does not work with ours."""
        x = yield from self._raw(fid.FFA_VERSION, version)
        answer = x[0] & MASK32
        if answer >> 31:
            raise FfaError(status_of(answer), fid.FFA_VERSION)
        self.version = min(version, answer)
        return answer

    @step
    def id_get(self) -> Steps[int]:
        """FFA_ID_GET: the endpoint id of the caller."""
        x = yield from self._ffa(fid.FFA_ID_GET)
        self.endpoint = x[2] & 0xFFFF
        return self.endpoint

    @step
    def secondary_register(self, entry: int) -> Steps[None]:
        """FFA_SECONDARY_EP_REGISTER: the partition's other vCPUs start at ``entry``."""
        yield from self._ffa(fid.FFA_SECONDARY_EP_REGISTER_64, entry)

    @step
    def spm_id_get(self) -> Steps[int]:
        """FFA_SPM_ID_GET: the endpoint id of the SPMC."""
        x = yield from self._ffa(fid.FFA_SPM_ID_GET)
        return x[2] & 0xFFFF

    @step
    def features(self, feature: int, properties: int = 0) -> Steps[tuple[int, int]]:
        """FFA_FEATURES of a function or feature id: the properties in w2 and w3."""
        x = yield from self._ffa(fid.FFA_FEATURES, feature, properties)
        return x[2] & MASK32, x[3] & MASK32

    @step
    def partition_info(self, uuid: UUID = NIL) -> Steps[list[info.PartitionInfo]]:
        """FFA_PARTITION_INFO_GET: the partitions that implement ``uuid`` (nil: all)."""
        yield from self._need_buffers()
        x = yield from self._ffa(fid.FFA_PARTITION_INFO_GET, *to_words(uuid))
        count = x[2] & MASK32
        size = x[3] & MASK32 or info.descriptor_size(self.version)
        data = self.memory.read(self.buffers.rx, count * size)
        yield from self._ffa(fid.FFA_RX_RELEASE)
        return info.parse_partition_info(data, count, size)

    @step
    def partition_info_regs(self, uuid: UUID = NIL) -> Steps[list[info.PartitionInfo]]:
        """FFA_PARTITION_INFO_GET_REGS, page by page."""
        found: list[info.PartitionInfo] = []
        tag = 0
        while True:
            x = yield from self._ffa(
                fid.FFA_PARTITION_INFO_GET_REGS, *to_pair(uuid), len(found) | tag << 16
            )
            page = info.parse_registers(x, len(found))
            found += page.infos
            tag = page.tag
            if page.current >= page.last:
                return found

    @step
    def map_buffers(self, pages: int = 1) -> Steps[tuple[int, int]]:
        """FFA_RXTX_MAP of freshly allocated buffers: the IPAs of TX and RX."""
        tx = self.ram.allocate(pages)
        rx = self.ram.allocate(pages)
        buffers = self.buffers
        former = buffers.tx, buffers.rx, buffers.pages
        buffers.tx, buffers.rx, buffers.pages = tx, rx, pages  # other vCPUs do not map them again
        try:
            yield from self._ffa(fid.FFA_RXTX_MAP_64, tx, rx, pages)
        except FfaError:
            buffers.tx, buffers.rx, buffers.pages = former
            for ipa in (tx, rx):
                self.ram.free(ipa, pages)
            raise
        return tx, rx

    @step
    def unmap_buffers(self) -> Steps[None]:
        """FFA_RXTX_UNMAP; the pages are free again."""
        yield from self._ffa(fid.FFA_RXTX_UNMAP)
        buffers = self.buffers
        for ipa in (buffers.tx, buffers.rx):
            self.ram.free(ipa, buffers.pages)
        buffers.tx = buffers.rx = buffers.pages = 0

    def _need_buffers(self) -> Steps[None]:
        if not self.buffers.pages:
            yield from Calls.map_buffers.function(self)

    @step
    def rx_release(self) -> Steps[None]:
        """FFA_RX_RELEASE."""
        yield from self._ffa(fid.FFA_RX_RELEASE)

    # Messages and cycles.

    @step
    def direct_request(self, to: object, *payload: int, bits: int = 64) -> Steps[DirectMessage]:
        """FFA_MSG_SEND_DIRECT_REQ with up to five words: the response.

        A request that is interrupted, or whose receiver yields, is resumed with FFA_RUN.
        """
        function = fid.FFA_MSG_SEND_DIRECT_REQ_64 if bits == 64 else fid.FFA_MSG_SEND_DIRECT_REQ_32
        ids = self.endpoint << 16 | self.resolve(to)
        x = yield from self._ffa(function, ids, 0, *payload)
        return (yield from self._until_response(x))

    @step
    def direct_request2(self, to: object, *payload: int, uuid: UUID = NIL) -> Steps[DirectMessage]:
        """FFA_MSG_SEND_DIRECT_REQ2 with up to fourteen words to a service: the response."""
        ids = self.endpoint << 16 | self.resolve(to)
        x = yield from self._ffa(fid.FFA_MSG_SEND_DIRECT_REQ2, ids, *to_pair(uuid), *payload)
        return (yield from self._until_response(x))

    def _until_response(self, x: list[int]) -> Steps[DirectMessage]:
        while x[0] & MASK32 in (fid.FFA_INTERRUPT, fid.FFA_YIELD):
            x = yield from self._ffa(fid.FFA_RUN, x[1])
        return direct_message(x)

    @step
    def run(self, endpoint: object, vcpu: int = 0) -> Steps[tuple[int, ...]]:
        """FFA_RUN: the registers it returns with (FFA_MSG_WAIT, FFA_YIELD, FFA_INTERRUPT ...)."""
        x = yield from self._ffa(fid.FFA_RUN, self.resolve(endpoint) << 16 | vcpu)
        return tuple(x)

    @step
    def msg_wait(self, *, retain_rx: bool = False) -> Steps[tuple[int, ...]]:
        """FFA_MSG_WAIT: the registers of whatever ends the wait."""
        x = yield from self._ffa(fid.FFA_MSG_WAIT, 0, int(retain_rx))
        return tuple(x)

    @step
    def yield_(self) -> Steps[None]:
        """FFA_YIELD."""
        yield from self._ffa(fid.FFA_YIELD)

    @step
    def idle(self) -> Steps[None]:
        """WFI: nothing to do until an interrupt."""
        yield exits.IDLE

    @step
    def send2(
        self, to: object, data: bytes, *, uuid: UUID = NIL, delay_sri: bool = False
    ) -> Steps[None]:
        """FFA_MSG_SEND2: an indirect message."""
        yield from self._need_buffers()
        message = messages.Message(
            sender=self.endpoint, receiver=self.resolve(to), payload=data, uuid=uuid
        )
        self.memory.write(self.buffers.tx, messages.build_message(message, self.version))
        yield from self._ffa(fid.FFA_MSG_SEND2, 0, 2 if delay_sri else 0)

    @step
    def receive(self) -> Steps[messages.Message]:
        """The indirect message in RX, which is released."""
        data = self.memory.read(self.buffers.rx, self.buffers.pages * PAGE)
        message = messages.parse_message(data, self.version, older=True)
        yield from self._ffa(fid.FFA_RX_RELEASE)
        return message

    @step
    def console_log(self, text: str) -> Steps[None]:
        """FFA_CONSOLE_LOG."""
        data = text.encode()
        for at in range(0, len(data), 48):
            part = data[at : at + 48]
            words = [int.from_bytes(part[i : i + 8], "little") for i in range(0, len(part), 8)]
            yield from self._ffa(fid.FFA_CONSOLE_LOG_64, len(part), *words)

    # Notifications.

    @step
    def notification_bind(self, sender: object, bitmap: int, flags: int = 0) -> Steps[None]:
        """FFA_NOTIFICATION_BIND: ``sender`` may set ``bitmap`` for the caller."""
        ids = self.resolve(sender) << 16 | self.endpoint
        yield from self._ffa(fid.FFA_NOTIFICATION_BIND, ids, flags, *halves(bitmap))

    @step
    def notification_unbind(self, sender: object, bitmap: int) -> Steps[None]:
        """FFA_NOTIFICATION_UNBIND."""
        ids = self.resolve(sender) << 16 | self.endpoint
        yield from self._ffa(fid.FFA_NOTIFICATION_UNBIND, ids, 0, *halves(bitmap))

    @step
    def notification_set(self, receiver: object, bitmap: int, flags: int = 0) -> Steps[None]:
        """FFA_NOTIFICATION_SET."""
        ids = self.endpoint << 16 | self.resolve(receiver)
        yield from self._ffa(fid.FFA_NOTIFICATION_SET, ids, flags, *halves(bitmap))

    @step
    def notification_get(self, flags: int, vcpu: int = 0) -> Steps[tuple[int, int, int]]:
        """FFA_NOTIFICATION_GET: bitmaps from SPs, from VMs, from the framework."""
        x = yield from self._ffa(fid.FFA_NOTIFICATION_GET, vcpu << 16 | self.endpoint, flags)
        words = [word & MASK32 for word in x[2:8]]
        return tuple(low | high << 32 for low, high in zip(words[::2], words[1::2], strict=True))  # type: ignore[return-value]

    @step
    def notification_info_get(self) -> Steps[notifications.PendingInfo]:
        """FFA_NOTIFICATION_INFO_GET: whom a scheduler should run; NO_DATA if there is nobody."""
        x = yield from self._ffa(fid.FFA_NOTIFICATION_INFO_GET_64)
        return notifications.parse_pending(x[2:8], smc64=True)


class Ffa(Calls, Waiting):
    """FF-A for a Python partition: every call is awaited."""


class DrivenFfa(Calls):
    """FF-A for whoever drives a vCPU: every call returns when the vCPU has control again."""

    def __init__(self, vcpu: Vcpu, take: Callable[[], DrivenRunner]) -> None:
        super().__init__(vcpu)
        self._take = take

    def exit(self, kind: int) -> None:
        """Make an exit; raises Blocked if the vCPU does not get control back."""
        if not self._take().call(kind):
            failure = self.vcpu.failure
            if failure is not None:
                raise failure
            raise Blocked(f"{self.ctx.name}'s call has not returned; {self.vcpu.stalled}")


_ZEROS = [(0,) * (18 - n) for n in range(19)]
