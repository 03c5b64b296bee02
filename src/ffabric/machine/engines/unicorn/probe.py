"""A probe on one vCPU: it stops before instructions, after one, and where memory is touched.

Nothing of the run changes by that: a stop lies between two stretches of execution, takes no time,
and whoever is asked (`stopped`) may stay as long as they like. A probe needs the interpreted inner
loop. Breakpoints and watchpoints are hooks of the emulator, not changes of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ffabric.machine.engines.unicorn import native
from ffabric.machine.engines.unicorn.package import arm, uc
from ffabric.machine.engines.unicorn.system import GENERAL

if TYPE_CHECKING:
    from ctypes import c_size_t

    from ffabric.machine.engines.unicorn.runner import UnicornRunner

BREAK, WRITE, READ, ACCESS = 0, 2, 3, 4
"""Kinds of stops, as the remote protocol of gdb numbers them; 1 is like 0."""
_HOOKS = {
    WRITE: uc.UC_HOOK_MEM_WRITE,
    READ: uc.UC_HOOK_MEM_READ,
    ACCESS: uc.UC_HOOK_MEM_READ | uc.UC_HOOK_MEM_WRITE,
}
NZCV_AND_REST = 0xFFFF_FFFF


class Stop:
    """Why a vCPU has stopped: at a breakpoint, or where it has touched watched memory."""

    __slots__ = ("address", "kind")

    def __init__(self, kind: int, address: int) -> None:
        self.kind = kind
        self.address = address


class Probe:
    """An `Instrument` on ``runner``. ``stopped`` is asked before each stretch, with what was met.

    It answers how many instructions may be executed until it is asked again.
    """

    def __init__(
        self, runner: UnicornRunner, stopped: Callable[[Probe, Stop | None, int], int]
    ) -> None:
        self.runner = runner
        self._stopped = stopped
        self._points: set[tuple[int, int, int]] = set()
        self._installed: list[c_size_t] = []
        self._emulator: native.Emulator | None = None
        self._met: Stop | None = None
        self._passing: int | None = None
        """The breakpoint at which it stands, and goes on."""
        runner.interpreted = True
        runner.instrument = self

    def before(self, budget: int) -> int:
        """See `Instrument.before`."""
        if self._emulator is not self.runner.emulator:
            self._install()
        met, self._met = self._met, None
        allowed = max(1, min(budget, self._stopped(self, met, budget)))
        self._passing = self.pc
        return allowed

    # Where it stops.

    @property
    def points(self) -> frozenset[tuple[int, int, int]]:
        """Kind, virtual address and bytes of each breakpoint and watchpoint."""
        return frozenset(self._points)

    def set_points(self, points: frozenset[tuple[int, int, int]]) -> None:
        """Stop at these from now on. Not while an instruction executes."""
        if points != self._points:
            self._points = set(points)
            if self._emulator is not None:
                self._install()

    def _install(self) -> None:
        """Put the hooks into the present emulator."""
        emulator = self.runner.emulator
        if self._emulator is emulator:
            for installed in self._installed:
                emulator.unhook(installed)
        self._emulator = emulator
        self._installed = []
        for kind, address, size in sorted(self._points):
            if kind <= 1:
                hook = native.CodeHook(self._reached)
                installed = emulator.hook_between(uc.UC_HOOK_CODE, hook, address, address)
                self._installed.append(installed)
            else:
                self._watch(emulator, kind, address, size)
        emulator.flush_code()

    def _watch(self, emulator: native.Emulator, kind: int, address: int, size: int) -> None:
        """Hooks of accesses know virtual or physical addresses, as the emulator was built."""
        places = {address, emulator.reached_at(address)} - {None}

        def touched(*_: object) -> None:
            self._met = Stop(kind, address)
            self.runner.end_within(0)

        for place in places:
            assert place is not None
            hook = native.AccessHook(touched)
            self._installed.append(
                emulator.hook_between(_HOOKS[kind], hook, place, place + size - 1)
            )

    def _reached(self, _engine: int, address: int, _size: int, _user: int) -> None:
        """The instruction at a breakpoint is about to execute: not now, unless it has stopped."""
        if address == self._passing:
            self._passing = None
            return
        self._met = Stop(BREAK, address)
        self.runner.end_before()

    # What it has.

    @property
    def is_started(self) -> bool:
        """Whether it has an emulator, and with that registers and memory."""
        return self._emulator is not None

    @property
    def pc(self) -> int:
        """Where it is."""
        return self.runner.emulator.read(arm.UC_ARM64_REG_PC)

    def registers(self) -> list[int]:
        """x0 to x30, sp, pc, PSTATE; zeros before it has started."""
        if not self.is_started:
            return [0] * 34
        found = self.runner.registers()
        return [
            value & NZCV_AND_REST if name == "pstate" else value for name, value in found.items()
        ]

    def set_register(self, number: int, value: int) -> None:
        """Set one of `registers`, by its place there; PSTATE cannot be set."""
        if self.is_started and number < 33:
            ids = [*GENERAL[:31], arm.UC_ARM64_REG_SP, arm.UC_ARM64_REG_PC]
            self.runner.emulator.write(ids[number], value)

    def physical(self, va: int) -> int | None:
        """The physical address that a load from ``va`` reads; None if nothing is there."""
        return self.runner.emulator.reached_at(va) if self.is_started else None

    def forget_code(self) -> None:
        """Code in memory was changed from outside."""
        if self.is_started:
            self.runner.emulator.flush_code()
