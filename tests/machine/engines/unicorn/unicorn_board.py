"""A small board with the engine's test image, for the tests of the Unicorn engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ffabric.machine import exits
from ffabric.machine.bus import Bus
from ffabric.machine.clock import Clock
from ffabric.machine.context import Context
from ffabric.machine.engines.unicorn.engine import UnicornEngine
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation import descriptors as s2
from ffabric.machine.translation.pages import PagePool
from ffabric.machine.translation.stage2 import Stage2

IMAGES = Path(__file__).parents[3] / "images"

SECURE_RAM = 0x8000_0000
NORMAL_RAM = 0x9000_0000
RAM_SIZE = 0x100_0000
TABLES = SECURE_RAM + 0x80_0000
IPA = 0x4000_0000  # where partitions find the image, at PA NORMAL_RAM
WINDOW = 0x20_0000
NORMAL = s2.VALID | s2.S2AP_R | s2.S2AP_W | s2.MEMATTR_NORMAL_WB | s2.SH_INNER | s2.AF

Step = tuple[str, list[int]]


class Board:
    """Memory, one partition at `IPA`, and an engine."""

    def __init__(self, image: str = "engine", **options: Any) -> None:
        self.memory = PhysicalMemory()
        self.memory.add("secure", SECURE_RAM, RAM_SIZE, secure=True)
        self.normal = self.memory.add("normal", NORMAL_RAM, RAM_SIZE, secure=False)
        self.bus = Bus()
        self.clock = Clock()
        self.pool = PagePool(self.memory, TABLES, 64)
        self.stage2 = Stage2(self.memory, self.pool, vmid=1)
        self.stage2.map(IPA, NORMAL_RAM, WINDOW // 4096, NORMAL)
        code = (IMAGES / f"{image}.bin").read_bytes()
        self.memory.write(NORMAL_RAM, code, secure=False)
        self.engine = UnicornEngine(memory=self.memory, bus=self.bus, clock=self.clock, **options)

    def vcpu(
        self,
        case: int | None,
        x0: int = 0,
        *,
        level: int = 1,
        mpidr: int = 0x8000_0000,
        **more: Any,
    ) -> Vcpu:
        """A vCPU about to execute a case of the image."""
        more.setdefault("stage2", None if level == 2 else self.stage2)
        more.setdefault("secure", False)
        runner = self.engine.runner(level=level, mpidr=mpidr, **more)
        ctx = Context(f"vcpu{mpidr & 0xFF}", 0, secure=more["secure"], stage2=more["stage2"])
        ctx.runner = runner
        if case is not None:
            base = IPA if more["stage2"] is not None else NORMAL_RAM
            runner.start(base + case * 0x100, x0)
        return Vcpu(ctx, runner)

    def close(self) -> None:
        self.memory.close()


class Vcpu:
    """A context that is run exit by exit."""

    def __init__(self, ctx: Context, runner: Any) -> None:
        self.ctx = ctx
        self.runner = runner

    def until(self, answer: Callable[[Context, int], bool]) -> list[Step]:
        """Run while `answer` says so; every exit with x0-x17 as they were at it."""
        steps: list[Step] = []

        def trap(ctx: Context, exit_: int) -> bool:
            steps.append((exits.NAMES[exit_], list(ctx.x)))
            return answer(ctx, exit_)

        self.runner.run(self.ctx, trap)
        return steps

    def step(self) -> Step:
        """Run to the next exit."""
        (step,) = self.until(lambda _ctx, _exit: False)
        return step
