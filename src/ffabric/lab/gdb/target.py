"""The vCPUs of images as gdb's threads: their registers, their memory, and where they stop."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from ffabric.abi.words import PAGE
from ffabric.machine.engines.unicorn.probe import Probe, Stop
from ffabric.machine.engines.unicorn.runner import UnicornRunner

if TYPE_CHECKING:
    from ffabric.machine.context import Context
    from ffabric.system.system import System

REGISTERS = struct.Struct("<33QI")
"""x0 to x30, sp, pc, cpsr: the order of org.gnu.gdb.aarch64.core."""
PC, CPSR = 32, 33
DESCRIPTION = (
    '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target>'
    '<architecture>aarch64</architecture><feature name="org.gnu.gdb.aarch64.core">'
    + "".join(f'<reg name="x{n}" bitsize="64"/>' for n in range(31))
    + '<reg name="sp" bitsize="64" type="data_ptr"/><reg name="pc" bitsize="64" type="code_ptr"/>'
    '<reg name="cpsr" bitsize="32"/></feature></target>'
)
Place = tuple[int, int]
"""A thread, and how many instructions it had executed: where a run can be brought back to."""


class Thread:
    """A vCPU of an image."""

    def __init__(self, number: int, ctx: Context, probe: Probe) -> None:
        self.number = number
        self.ctx = ctx
        self.probe = probe

    @property
    def place(self) -> Place:
        """Where it is."""
        return self.number, self.probe.runner.instructions


class Target:
    """A booted system, whose images ``stopped`` is asked about between stretches of execution."""

    def __init__(self, system: System, stopped: Callable[[Thread, Stop | None, int], int]) -> None:
        self.system = system
        self.threads: dict[int, Thread] = {}
        for endpoint in system.endpoints.values():
            for ctx in endpoint.partition.contexts:
                if isinstance(ctx.runner, UnicornRunner):
                    self._add(ctx, ctx.runner, stopped)

    def _add(
        self,
        ctx: Context,
        runner: UnicornRunner,
        stopped: Callable[[Thread, Stop | None, int], int],
    ) -> None:
        number = len(self.threads) + 1
        probe = Probe(runner, lambda _probe, met, budget: stopped(thread, met, budget))
        thread = self.threads[number] = Thread(number, ctx, probe)

    def set_points(self, points: frozenset[tuple[int, int, int]]) -> None:
        """All stop at these."""
        for thread in self.threads.values():
            thread.probe.set_points(points)

    # Registers and memory.

    @staticmethod
    def registers(thread: Thread) -> bytes:
        """All of them, as a packet has them."""
        return REGISTERS.pack(*thread.probe.registers())

    @staticmethod
    def register(thread: Thread, number: int) -> bytes | None:
        """One of them; None if there is no such one."""
        if number > CPSR:
            return None
        value = thread.probe.registers()[number]
        return value.to_bytes(4 if number == CPSR else 8, "little")

    def read(self, thread: Thread, address: int, size: int) -> bytes:
        """What ``thread`` reads at a virtual address, as far as there is anything."""
        data = b""
        while size > len(data):
            va = address + len(data)
            count = min(size - len(data), PAGE - va % PAGE)
            pa = thread.probe.physical(va)
            bank = None if pa is None else self.system.machine.memory.bank_at(pa)
            if pa is None or bank is None:
                break
            data += self.system.machine.memory.read(pa, count, secure=bank.secure)
        return data

    def write(self, thread: Thread, address: int, data: bytes) -> bool:
        """Store ``data`` at a virtual address; False, and nothing is stored, if it is not there."""
        pieces = []
        done = 0
        while done < len(data):
            va = address + done
            count = min(len(data) - done, PAGE - va % PAGE)
            pa = thread.probe.physical(va)
            bank = None if pa is None else self.system.machine.memory.bank_at(pa)
            if pa is None or bank is None:
                return False
            pieces.append((pa, data[done : done + count], bank.secure))
            done += count
        for pa, part, secure in pieces:
            self.system.machine.memory.write(pa, part, secure=secure)
        for each in self.threads.values():
            each.probe.forget_code()
        return True
