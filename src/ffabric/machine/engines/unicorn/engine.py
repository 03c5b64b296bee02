"""The Unicorn engine: AArch64 software at EL1, EL0, or EL2 as a bare-metal normal world."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ffabric.machine.cpu_features import DEFAULT_FEATURES
from ffabric.machine.engines.unicorn import native
from ffabric.machine.engines.unicorn.inner_loop.choice import is_compiled
from ffabric.machine.engines.unicorn.inner_loop.interpreted import Siblings
from ffabric.machine.engines.unicorn.runner import Sysreg, UnicornRunner

if TYPE_CHECKING:
    from ffabric.machine.bus import Bus
    from ffabric.machine.clock import Clock
    from ffabric.machine.engines.unicorn.fault_report import Symbols
    from ffabric.machine.memory import PhysicalMemory
    from ffabric.machine.translation.stage2 import Stage2

SLICE = 100_000
"""Instructions until a SLICE exit, unless the engine is told otherwise."""

COUNTER_STEP = 1_000
"""Virtual nanoseconds that reading a counter takes, unless the engine is told otherwise."""

INSTRUCTION_TIME = 1
"""Virtual nanoseconds that an instruction takes, unless the engine is told otherwise."""

WEDGED_AFTER = 10**10
"""Instructions without a call, unless the engine is told otherwise: minutes of host time."""


_MOST = 1 << 30
"""Of instructions in a slice, and of nanoseconds that anything takes: products fit 62 bits."""


def _runner_type() -> type[UnicornRunner]:
    if not is_compiled():
        return UnicornRunner
    from ffabric.machine.engines.unicorn.inner_loop.compiled import CompiledRunner  # noqa: PLC0415

    return CompiledRunner


class UnicornEngine:
    """What the vCPUs of a machine share: memory, devices, time, and the handler of registers.

    `sysreg` answers for the registers of GIC (ICC_*, ICH_*) and generic timer (CNTP_*, CNTV_*, ...)
    and may know others; without it they are undefined. A vCPU is wedged that has executed
    `wedged_after` instructions without a call (0: none ever is). `slice_` is in instructions,
    `counter_step` and `instruction_time` in nanoseconds, `model` one of `native.MODELS`, `features`
    of `cpu_features.FEATURES`; `on_missing` gets the name of a vCPU and a line that tells of an
    instruction for which the model lacks the feature. Memory and devices are those that are there
    when a vCPU starts.
    """

    def __init__(
        self,
        *,
        memory: PhysicalMemory,
        bus: Bus,
        clock: Clock,
        sysreg: Sysreg | None = None,
        slice_: int = SLICE,
        counter_step: int = COUNTER_STEP,
        instruction_time: int = INSTRUCTION_TIME,
        model: str = "max",
        wedged_after: int = WEDGED_AFTER,
        features: Iterable[str] = DEFAULT_FEATURES,
        on_missing: Callable[[str, str], None] | None = None,
    ) -> None:
        if model not in native.MODELS:
            raise ValueError(f"no processor {model!r}: Unicorn has {', '.join(native.MODELS)}")
        if not (
            0 < slice_ <= _MOST and 0 < instruction_time <= _MOST and 0 <= counter_step <= _MOST
        ):
            raise ValueError(
                f"a slice of {slice_} instructions, {instruction_time} ns each,"
                f" {counter_step} ns a counter read"
            )
        self.memory = memory
        self.bus = bus
        self.clock = clock
        self.sysreg = sysreg
        self.slice = slice_
        self.counter_step = counter_step
        self.instruction_time = instruction_time
        self.model = model
        self.wedged_after = wedged_after
        self.features = frozenset(features)
        self._on_missing = on_missing
        self._missed: set[tuple[str, str]] = set()
        self._siblings: list[Siblings] = []
        self._runner = _runner_type()

    def tell_missing(self, name: str, feature: str, place: str) -> None:
        """The vCPU `name` has executed an instruction that needs a feature which is not there."""
        if self._on_missing is not None and (name, feature) not in self._missed:
            self._missed.add((name, feature))
            self._on_missing(name, f"{place} needs {feature}, which the CPU has not: undefined")

    def runner(
        self,
        *,
        level: int,
        mpidr: int,
        secure: bool,
        stage2: Stage2 | None = None,
        gic: bool = True,
        name: str = "",
        symbols: Symbols | None = None,
    ) -> UnicornRunner:
        """A vCPU that starts at exception level `level` (0, 1 or 2).

        At level 0 the partition has no EL1: its SVCs are exits, and only stage 2 translates. At
        level 2, a bare-metal normal world, there is no stage 2. `gic`: ID_AA64PFR0_EL1 reports a
        GICv3 CPU interface. `name` is the vCPU's, `symbols` tells what is at an address; they are
        for whoever reads why it crashed.
        """
        if level not in {0, 1, 2} or (level == 2 and stage2 is not None):
            raise ValueError(f"no vCPU at EL{level} with stage 2 {stage2}")
        for siblings in self._siblings:
            if siblings.stage2 is stage2:
                break
        else:
            siblings = Siblings(stage2)
            self._siblings.append(siblings)
        return self._runner(
            self,
            siblings,
            level=level,
            mpidr=mpidr,
            secure=secure,
            gic=gic,
            name=name,
            symbols=symbols,
        )
