"""A tap on the wire: every virtio-msg message that goes between two partitions of a system.

It stands between the machine and the firmware, where each call is made and answered, so that it
does not matter what the two sides are: Python, an image, a kernel. What it finds it shows to an
observer, at both ends: what a side has sent, and what the other has received. Both are the same
unless somebody interferes, who may lose, change, repeat, delay or exchange messages on the way.

A direct message that is lost looks to the driver side like a device side that is busy; an indirect
one has been sent, as far as its sender knows, and so has one in a FIFO, whose slot is empty then.
An indirect message that is repeated or late takes the place of the next one, as there is one place
for it; in a FIFO likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from msgspec import Struct, field

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import messages
from ffabric.abi.ffa.uuids import to_pair
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.words import MASK32, unpack_ids
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.lab.virtio_msg.fifo_tap import Ends, FifoTap, is_accepted, is_request
from ffabric.machine import exits

if TYPE_CHECKING:
    from ffabric.machine.context import PE, Context
    from ffabric.system.system import System

_SERVICE: Final = to_pair(abi.DEVICE_UUID)
_SUCCESS: Final = (fid.FFA_SUCCESS_32, fid.FFA_SUCCESS_64)
_WORDS: Final = slice(4, 18)
_SERVICES: Final = frozenset({abi.DEVICE_UUID, abi.DRIVER_UUID})


DISPLACED: Final = 2
"""Indirect messages in whose place others may arrive, before those are lost."""


class Pair(NamedTuple):
    """A driver side and its device side, by endpoint id."""

    driver: int
    device: int


class Observer(Protocol):
    """Who is shown what goes by. Messages may be longer than their size says: the carrier is."""

    def driver_sent(self, pair: Pair, data: bytes) -> None:
        """The driver side has sent a message."""

    def driver_received(self, pair: Pair, data: bytes) -> None:
        """The driver side has got a message."""

    def driver_was_answered(self, pair: Pair) -> None:
        """A direct message of the driver side is over: it was answered, or the other is busy."""

    def device_sent(self, pair: Pair, data: bytes) -> None:
        """The device side has sent a message."""

    def device_received(self, pair: Pair, data: bytes) -> None:
        """The device side has got a message."""

    def device_was_busy(self, pair: Pair) -> None:
        """The device side has said that it is busy."""


class Interference(Protocol):
    """Who may change what goes by."""

    def to_device(self, pair: Pair, data: bytes) -> Sequence[bytes]:
        """What arrives in place of a message of the driver side, in this order."""

    def to_driver(self, pair: Pair, data: bytes) -> Sequence[bytes]:
        """What arrives in place of a message of the device side, in this order."""


class _Exchange(Struct):
    """A direct request that is under way."""

    pair: Pair
    head: tuple[int, ...]
    sent: bytes
    arriving: list[bytes]
    """What is still to arrive, the first of it is arriving now."""
    judged: bool = False
    fresh: bool = True
    """Its caller has made no other call since."""
    before: _Exchange | None = None
    """What was under way, if this one is refused."""


class _Indirect(Struct):
    """An indirect message that is being sent."""

    pair: Pair
    to_device: bool
    sent: bytes
    arriving: bytes


class _Late(Struct):
    """Indirect messages that arrive in place of later ones, of which they have displaced some."""

    messages: list[bytes] = field(default_factory=list)
    displaced: int = 0


class Tap:
    """Taps a booted system: it gets the exits of the machine then, and passes all of them on."""

    def __init__(
        self, system: System, observer: Observer, interference: Interference | None = None
    ) -> None:
        self._take = system.machine.take
        self._observer = observer
        self._interference = interference
        self._exchanges: dict[Context, _Exchange] = {}
        self._sending: dict[Context, _Indirect] = {}
        self._pairs: set[Pair] = set()
        self._late: dict[tuple[Pair, bool], _Late] = {}
        self._fifos: dict[Pair, FifoTap] = {}
        self._configuring: dict[Pair, bytes] = {}
        """The request for a FIFO that a device side has got last."""
        self._regions = [manager.regions.live for manager in system.firmware.managers]
        self._memory = system.machine.memory
        self._mailbox_of = system.firmware.mailbox_of
        system.machine.tap = self.trap

    def trap(self, pe: PE, ctx: Context, exit_: int) -> None:
        """Pass an exit on, and look at what goes by."""
        if self._fifos and isinstance(ctx, ExecutionContext):
            self._look(ctx.partition.id)
        if exit_ <= exits.SVC and isinstance(ctx, ExecutionContext):
            function = ctx.x[0] & MASK32
            if ctx in self._exchanges:
                self._exchanges[ctx].fresh = False
            if function == fid.FFA_MSG_SEND_DIRECT_REQ2:
                if self._requests(ctx):
                    return
            elif function == fid.FFA_MSG_SEND_DIRECT_RESP2:
                self._responds(ctx)
            elif function == fid.FFA_MSG_SEND2 and self._sends(ctx):
                return
        self._take(pe, ctx, exit_)
        current = pe.current
        while current in self._exchanges:
            if not self._is_answered(current):
                break
            self._take(pe, current, exit_)
            current = pe.current
        if current in self._sending:
            self._is_sent(current)

    # Direct messages.

    def _requests(self, ctx: ExecutionContext) -> bool:
        """A direct request is made: whether it is lost."""
        x = ctx.x
        if tuple(x[2:4]) != _SERVICE:
            return False
        pair = Pair(*unpack_ids(x[1]))
        sent = abi.from_registers(x[_WORDS])
        arriving = [sent]
        if self._interference is not None:
            arriving = list(self._interference.to_device(pair, sent))
        if not arriving:
            self._observer.driver_sent(pair, sent)
            self._observer.driver_was_answered(pair)
            swapped = (x[1] << 16 | x[1] >> 16) & MASK32
            x[:18] = [fid.FFA_MSG_SEND_DIRECT_RESP2, swapped, 0, 0, *abi.BUSY]
            return True
        before = self._exchanges.get(ctx)
        self._exchanges[ctx] = _Exchange(pair, tuple(x[:4]), sent, arriving, before=before)
        x[_WORDS] = _registers(arriving[0])
        return False

    def _responds(self, ctx: ExecutionContext) -> None:
        device, driver = unpack_ids(ctx.x[1])
        pair = Pair(driver, device)
        exchange = next((each for each in self._exchanges.values() if each.pair == pair), None)
        if exchange is None:
            return
        observer = self._observer
        if not exchange.judged:
            exchange.judged = True
            observer.driver_sent(pair, exchange.sent)
        self._device_receives(pair, exchange.arriving.pop(0))
        words = ctx.x[_WORDS]
        if tuple(words) == abi.BUSY:
            observer.device_was_busy(pair)
            return
        sent = abi.from_registers(words)
        self._device_sends(pair, sent)
        if self._interference is not None:
            arriving = self._interference.to_driver(pair, sent)
            ctx.x[_WORDS] = _registers(arriving[0]) if arriving else abi.BUSY

    def _is_answered(self, ctx: Context) -> bool:
        """Whether the direct request of a context is over and there is another to arrive."""
        x = ctx.x
        function = x[0] & MASK32
        exchange = self._exchanges[ctx]
        if function == fid.FFA_MSG_SEND_DIRECT_RESP2:
            if exchange.arriving:
                x[:4] = exchange.head
                x[_WORDS] = _registers(exchange.arriving[0])
                return True
            del self._exchanges[ctx]
            if tuple(x[_WORDS]) != abi.BUSY:
                self._observer.driver_received(exchange.pair, abi.from_registers(x[_WORDS]))
            self._observer.driver_was_answered(exchange.pair)
        elif function == fid.FFA_ERROR and exchange.fresh and not exchange.judged:
            del self._exchanges[ctx]  # FF-A has refused it
            if exchange.before is not None:
                self._exchanges[ctx] = exchange.before
        return False

    # Indirect messages.

    def _sends(self, ctx: ExecutionContext) -> bool:
        """An indirect message is sent: whether it is lost."""
        box = self._mailbox_of(ctx.partition)
        if box is None:
            return False
        version = ctx.partition.version
        try:
            message = messages.parse_message(box.tx.snapshot(box.tx.size), version)
        except (DecodeError, ValueError):
            return False
        forth = Pair(message.sender, message.receiver)
        back = Pair(message.receiver, message.sender)
        if message.uuid not in _SERVICES:
            return False
        to_device = not (
            back in self._pairs and (forth not in self._pairs or message.uuid == abi.DRIVER_UUID)
        )
        pair = forth if to_device else back
        self._pairs.add(pair)
        sent, arriving = message.payload, self._on_the_way(pair, to_device, message.payload)
        if arriving is None:
            self._arrives(_Indirect(pair, to_device, sent, b""))
            ctx.x[:18] = [fid.FFA_SUCCESS_32, *[0] * 17]
            return True
        if arriving != sent:
            message.payload = arriving
            box.tx.write(messages.build_message(message, version))
        self._sending[ctx] = _Indirect(pair, to_device, sent, arriving)
        return False

    def _on_the_way(self, pair: Pair, to_device: bool, sent: bytes) -> bytes | None:
        if self._interference is None:
            return sent
        interfere = self._interference.to_device if to_device else self._interference.to_driver
        late = self._late.setdefault((pair, to_device), _Late())
        arriving = list(interfere(pair, sent))
        if late.messages and arriving == [sent]:
            late.displaced += 1
            if late.displaced > DISPLACED:
                late.messages.clear()
        if not late.messages:
            late.displaced = 0
        late.messages += arriving
        return late.messages.pop(0) if late.messages else None

    def _is_sent(self, ctx: Context) -> None:
        function = ctx.x[0] & MASK32
        if function not in (*_SUCCESS, fid.FFA_ERROR):
            return
        indirect = self._sending.pop(ctx)
        if function in _SUCCESS:
            self._arrives(indirect)
        elif self._interference is not None and indirect.arriving != indirect.sent:
            self._late[indirect.pair, indirect.to_device].messages.insert(0, indirect.arriving)

    def _arrives(self, indirect: _Indirect) -> None:
        pair, observer = indirect.pair, self._observer
        if indirect.to_device:
            observer.driver_sent(pair, indirect.sent)
            if indirect.arriving:
                self._device_receives(pair, indirect.arriving)
        else:
            self._device_sends(pair, indirect.sent)
            if indirect.arriving:
                observer.driver_received(pair, indirect.arriving)

    # Messages by FIFO.

    def _device_receives(self, pair: Pair, data: bytes) -> None:
        if is_request(data):
            self._configuring[pair] = data
        self._observer.device_received(pair, data)

    def _device_sends(self, pair: Pair, data: bytes) -> None:
        self._observer.device_sent(pair, data)
        if is_accepted(data) and pair in self._configuring:
            asked = self._configuring.pop(pair)
            fifo = FifoTap.open(asked, self._regions, pair.device, self._memory)
            if fifo is not None:
                self._fifos[pair] = fifo

    def _look(self, endpoint: int) -> None:
        """An endpoint makes an exit: what has gone by in its FIFOs until then."""
        for pair, fifo in list(self._fifos.items()):
            if fifo.is_over:
                del self._fifos[pair]
            elif endpoint in pair:
                fifo.look(
                    self._ends(pair, to_device=True),
                    self._ends(pair, to_device=False),
                    driver_exits=endpoint == pair.driver,
                )

    def _ends(self, pair: Pair, *, to_device: bool) -> Ends:
        """The end of a bus that sends in a direction."""
        observer = self._observer
        sent, received = (
            (observer.driver_sent, observer.driver_received)
            if to_device
            else (observer.device_sent, observer.device_received)
        )
        treat = partial(self._on_the_way, pair, to_device)
        return Ends(partial(sent, pair), partial(received, pair), treat)


def _registers(message: bytes) -> tuple[int, ...]:
    return abi.to_registers(message[: abi.DIRECT_ROOM])
