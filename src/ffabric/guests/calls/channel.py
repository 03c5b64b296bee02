"""How a vCPU makes a call: the registers, the exit, the answer."""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import coroutine
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.guests.calls.both_ways import Unawaited, both_ways
from ffabric.guests.errors import error_of
from ffabric.machine.context import REGISTERS, check_registers

if TYPE_CHECKING:
    from ffabric.machine.access import GuestAccess
    from ffabric.system.vcpu import Buffers, Peer, Ram, Vcpu


_ERROR = fid.FFA_ERROR
ZEROS = [(0,) * (18 - n) for n in range(19)]
"""What a shorter list of registers lacks, by its length."""


class Exit(tuple[int]):
    """An exit of a vCPU: to await it makes it, without a coroutine of its own.

    What is awaited yields the exit's number, which is the only item.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def __await__(self) -> Generator[int, None, None]: ...

    else:
        __await__ = tuple.__iter__


class Channel:
    """What the FF-A calls of one vCPU are made with.

    ``memory`` loads and stores through the partition's stage-2, ``ram`` hands out its free pages,
    ``buffers`` is the partition's RX/TX pair, which all its vCPUs use, ``x`` are x0 to x17.
    """

    def __init__(self, vcpu: Vcpu) -> None:
        self.vcpu = vcpu
        self.x: list[int] = vcpu.x
        self.memory: GuestAccess = vcpu.memory
        self.ram: Ram = vcpu.ram
        self.buffers: Buffers = vcpu.buffers
        self.unawaited: Unawaited = Unawaited()
        self.conduit: int = vcpu.conduit
        self.trap: Exit = Exit((vcpu.conduit,))
        """The exit that makes the call in the registers."""
        self.resolve: Callable[[Peer], int] = vcpu.resolve

    @property
    def version(self) -> int:
        """The partition's version of FF-A."""
        return self.vcpu.version

    @property
    def endpoint(self) -> int:
        """The partition's endpoint id, once `id_get` has asked for it; 0 before."""
        return self.vcpu.endpoint

    @property
    def tx(self) -> int:
        """The IPA of TX, or 0 if it is not mapped."""
        return self.buffers.tx

    @property
    def rx(self) -> int:
        """The IPA of RX, or 0 if it is not mapped."""
        return self.buffers.rx

    @property
    def live_state(self) -> tuple[int, int]:
        """IPA and size in bytes of the state for a new image; (0, 0) if there is none."""
        return self.vcpu.live_state

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.vcpu}>"

    @both_ways
    async def call(self, *registers: int) -> tuple[int, ...]:
        """Make any call, of up to 18 registers: those that it returns, FFA_ERROR included."""
        if len(registers) > REGISTERS:
            check_registers(registers)
        return tuple(await self._exit(*registers))

    @coroutine
    def _exit(self, *registers: int) -> Generator[int, None, list[int]]:
        """Make the call in ``registers``: x0 to x17 with the answer."""
        x = self.x
        x[:] = registers + ZEROS[len(registers)]
        self.unawaited.made = None
        yield self.conduit
        return x

    @coroutine
    def exchange(self, registers: tuple[int, ...]) -> Generator[int, None, list[int]]:
        """As `call` with all 18 registers, for who makes many calls: x0 to x17, not a copy."""
        unawaited = self.unawaited
        if unawaited.made is not None:
            unawaited.check()
        x = self.x
        x[:] = registers
        yield self.conduit
        return x

    @coroutine
    def _bare(self, function: int) -> Generator[int, None, list[int]]:
        """Make a call without arguments: x0 to x17 with the answer. Raises FfaError."""
        x = self.x
        x[0] = function
        x[1:] = ZEROS[1]
        self.unawaited.made = None
        yield self.conduit
        if x[0] & MASK32 == _ERROR:
            raise error_of(self.vcpu, x[2], function)
        return x

    @coroutine
    def _ffa(self, *registers: int) -> Generator[int, None, list[int]]:
        """Make the call in ``registers``: x0 to x17 with the answer. Raises FfaError."""
        x = self.x
        x[:] = registers + ZEROS[len(registers)]
        self.unawaited.made = None
        yield self.conduit
        if x[0] & MASK32 == _ERROR:
            raise error_of(self.vcpu, x[2], registers[0])
        return x
