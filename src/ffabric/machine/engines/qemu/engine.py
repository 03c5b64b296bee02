"""The QEMU engine: a partition's vCPUs in a process of their own, in wall time.

For software that needs more of a machine than Unicorn has, such as an operating system: QEMU's
`virt` has devices, a GIC and timers of its own, and its RAM is our physical memory, the same bytes.
Calls come to our firmware, as from any engine. The way of a call of a VM::

      QEMU, a thread per CPU                          we, one thread
    +-------------------------------------+         +------------------------------------------+
    | EL1  Linux        | stage 2: the    |         |                                          |
    |        | smc, hvc | VM's own pages, |         |   firmware: EL2 and EL3 of both worlds   |
    |        v          | QEMU's GIC and  |         |        ^                 |               |
    | EL2  16 vectors   | console         |         |        | trap            | answer        |
    |        | smc      |                 |         |        |                 v               |
    |        v          '-----------------|         |     QemuRunner  ---  look, park, unpark  |
    | EL3  shim: x0-x17 --> mailbox (RAM) |=========|==>  Block of the CPU                     |
    |      waits: spins, then WFI         |         |                                          |
    |      doorbell (UART) <--------------|= bytes =|==>  wakes who sleeps                     |
    +-------------------------------------+         +------------------------------------------+

EL2 walks the stage-2 tables that our firmware writes, in the same memory: what a VM has lent, given
away or has not got is not there for it, and what it has retrieved is, at once. An abort of stage 2
is an exit like a call. What was taken away is invalidated on all CPUs before anybody goes on
(`tlb.py`). The mailbox and the vectors of EL2 are in no stage 2. A kernel without a hypervisor has
no stage 2 of ours, nor has a trusted OS below EL3: they reach all memory of their world.

The guest is confined so; the process that executes it is not. QEMU maps all memory of its world
(none of the other), and is trusted to be a CPU.

A CPU executes its guest only while its vCPU has its PE. When the PE is somebody else's, the CPU is
made to stop (a SLICE exit of which only the runner knows) and goes on when the vCPU has it again.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ffabric.machine.engines.qemu import mailbox
from ffabric.machine.engines.qemu.interrupts import InterruptRelay
from ffabric.machine.engines.qemu.process import (
    CPU,
    EL2_CPU,
    NORMAL,
    Confinement,
    Image,
    Piece,
    QemuProcess,
    World,
)
from ffabric.machine.engines.qemu.runner import QemuRunner
from ffabric.machine.engines.qemu.tlb import Tlb
from ffabric.machine.host.outside import Outside
from ffabric.machine.lines import Lines

if TYPE_CHECKING:
    from ffabric.machine.context import Context
    from ffabric.machine.engines.qemu.trapped import Devices
    from ffabric.machine.gic import Gic
    from ffabric.machine.machine import Machine
    from ffabric.machine.translation.watched import WatchedStage2

TICKS_PER_SECOND = 62_500_000
"""Of the counter that QEMU's CPUs have."""
PATIENCE = 60 * TICKS_PER_SECOND
"""How long a call waits for a peer that shows no sign of life."""
SPIN = TICKS_PER_SECOND // 2_000
"""How long a CPU that waits looks before it sleeps, if it has a processor to itself: 0.5 ms."""
DEADLINE = 20.0
"""Wall seconds that a QEMU has for what the shim does at once; see `QemuGuest.deadline`."""
AT_ONCE, PAUSE = 1_000_000, 50e-6
"""Wall nanoseconds in which that is done as a rule, and how many seconds we sleep if it is not."""
PROBES = 5
"""How often within that time we look whether a CPU that executes hears the doorbell."""
HCR_RW, HCR_VM = 1 << 31, 1
VTCR_VS = 1 << 19
"""A VMID has 16 bits, which this CPU has not; in this QEMU there is one VMID."""
VMID = 0xFF << 48
ADDRESS = (1 << 48) - 1


class QemuGuest:
    """All vCPUs of one partition.

    `ram` is its RAM. `on_line` gets each line of its console. `gone`: up to four registers that a
    call returns when we are gone but QEMU is not. `image`: see `QemuProcess`. With `stage2` it is
    confined by these tables, whose addresses must be those of its RAM, and has these ``devices``.
    """

    hcr = HCR_RW | HCR_VM
    """HCR_EL2 of a guest that is confined."""
    patience = PATIENCE
    world: World = NORMAL
    cpu = CPU

    def __init__(
        self,
        machine: Machine,
        name: str,
        ram: Sequence[Piece],
        *,
        cpus: int,
        on_line: Callable[[str], object],
        gone: Sequence[int] = (),
        el2: bool = False,
        image: Image = Image(),  # noqa: B008 - it is frozen
        stage2: WatchedStage2 | None = None,
        devices: Devices | None = None,
    ) -> None:
        if not 0 < cpus <= mailbox.MAX_CPUS:
            raise ValueError(f"{cpus} CPUs: QEMU's machine has up to {mailbox.MAX_CPUS}")
        self.name = name
        self.deadline = DEADLINE
        """Wall seconds after which it is ended, if it does not do what the shim does at once."""
        self.on_output: Callable[[bytes], object] | None = None
        """Gets what the console prints as it comes, too."""
        self.runners: list[QemuRunner] = []
        self.process = QemuProcess(
            name,
            cpus=cpus,
            el2=el2 or stage2 is not None,
            cpu=EL2_CPU if el2 else self.cpu,
            ram=ram,
            world=self.world,
            image=image,
            confinement=None if stage2 is None else self._confinement(stage2),
        )
        self.tlb = Tlb(self)
        self.devices = devices
        """Those of its devices that are ours."""
        if stage2 is not None:
            stage2.watchers.append(self.tlb.changed)
        self._unheard = b""
        """What its console has printed while we waited for something else."""
        self._probed: tuple[float, int, tuple[tuple[int, int], ...]] = (0.0, 0, ())
        """Since when nothing has changed, how often we have rung since, and what it is."""
        self._machine = machine
        self._lines = Lines(on_line)
        self.cut = False
        """Whether the line that is handed out is one that its console has begun and not ended."""
        self._gone = gone
        self._level = 2 if el2 else 1
        if machine.outside is None:
            machine.outside = Outside()
        self.outside = machine.outside

    def _confinement(self, stage2: WatchedStage2) -> Confinement:
        vttbr = stage2.vttbr & (VMID | ADDRESS)
        return Confinement(vttbr, stage2.vtcr & ~VTCR_VS, self.hcr)

    @property
    def ended(self) -> str:
        """Why QEMU is not there any more; empty while it is."""
        return self.process.ended

    def runner(self, ctx: Context, gic: Gic) -> QemuRunner:
        """The runner of a vCPU whose interrupts are those of ``gic``: the machine's, or a VM's."""
        cpu = len(self.runners)
        block = self.process.mailbox.block(cpu, self.process.wake)
        relay = InterruptRelay(gic, ctx.index, self._machine.gic)
        runner = QemuRunner(self, self._machine, ctx, block, relay, level=self._level)
        self.runners.append(runner)
        return runner

    def let_debug(self, listening: int) -> None:
        """Before it is started: let a gdb debug what it executes, at the listening socket.

        Whoever is stopped by gdb does nothing at once, so there is no deadline any more.
        """
        self.process.debugger = listening
        self.deadline = math.inf

    def start(self) -> None:
        """Start QEMU, unless it was started."""
        if self.process.pid is None:
            processors = self.outside.processors
            usable = processors.divide(self.process.cpus)
            self.process.mailbox.setup(
                patience=self.patience, spin=SPIN if processors.divided else 0, gone=self._gone
            )
            self.process.start(usable, self._given_up)
            assert self.process.pid is not None
            processors.admit(self.process.pid)
            self.outside.join(self)
            self.outside.watch(self.process.bell.fileno(), self._rung)
            self.outside.watch(self.process.console.fileno(), self._printed)

    def _given_up(self) -> bool:
        """Whether the run is to end, and gdb may keep QEMU from doing anything until then."""
        return self.process.debugger is not None and self._machine.stopping

    def look(self) -> bool:
        """See `Source.look`."""
        found = False
        if self._unheard:
            unheard, self._unheard = self._unheard, b""
            self._heard(unheard)
        for runner in self.runners:
            found |= runner.look()
        return found

    def attend(self, *, awake: bool) -> None:
        """See `Source.attend`."""
        self.process.mailbox.attend(
            awake=awake, spin=SPIN if self.outside.processors.divided else 0
        )
        if not awake:
            self._probe()

    def done(self) -> None:
        """It has accessed a device: it may have done what an interrupt was for."""
        for runner in self.runners:
            runner.done()

    def executing(self) -> list[int]:
        """The CPUs that may be executing the guest."""
        return [each.cpu for each in self.runners if each.executes]

    def wait_until(self, is_done: Callable[[], bool], what: str) -> None:
        """Wait for something that the shim does at once; QEMU is ended if it does not.

        Its console is read meanwhile: a CPU that prints waits for that, with QEMU's lock.
        """
        began = now = time.monotonic_ns()
        while not is_done() and self.process.is_there():
            now = time.monotonic_ns()
            if now - began >= self.deadline * 1e9:
                self.process.kill(f"it has not {what} within {self.deadline:g} s")
                return
            if self._given_up():
                self.process.kill("the run ends")
                return
            with suppress(BlockingIOError, OSError):
                self._unheard += self.process.console.recv(65536)
            if now - began < AT_ONCE:
                os.sched_yield()
            else:
                time.sleep(PAUSE)
        if now - began >= AT_ONCE:
            self.outside.processors.waited(now - began)

    def _probe(self) -> None:
        """End a QEMU whose CPUs neither make exits nor hear the doorbell, or that is stopped.

        CPUs that idle are silent: of them the host says whether they could be heard at all.
        """
        now = time.monotonic()
        since, rings, before = self._probed
        if now - since < self.deadline / PROBES * (rings + 1):
            return
        seen = tuple(each.signs_of_life for each in self.runners)
        executing = self.executing()
        if seen != before or not (executing or self.process.is_stopped()):
            since, rings = now, 0
        elif now - since >= self.deadline:
            silent = "has not heard its doorbell" if executing else "was stopped"
            self.process.kill(f"it {silent} for {self.deadline:g} s")
        else:
            rings += 1
            for cpu in executing:
                self.process.wake(cpu)
        self._probed = (since, rings, seen)

    def _rung(self) -> None:
        for runner in self.runners:
            runner.flush()
        if not self.process.drained():
            self._leave()
            self.look()  # nobody may look any more, if it was the last one outside

    def _printed(self) -> None:
        try:
            data = self.process.console.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._heard(data)
        else:
            self.outside.unwatch(self.process.console.fileno())
            self.flush()

    def _hear_the_rest(self) -> None:
        with suppress(OSError):
            while data := self.process.console.recv(65536):
                self._unheard += data
        if self._unheard:
            unheard, self._unheard = self._unheard, b""
            self._heard(unheard)

    def _heard(self, data: bytes) -> None:
        if self.on_output is not None:
            self.on_output(data)
        self._lines.write(data)

    def flush(self) -> None:
        """Hand out the line that its console has begun, if there is one; it is `cut`."""
        self.cut = True
        try:
            self._lines.flush()
        finally:
            self.cut = False

    def type(self, data: bytes) -> None:
        """Send to its console."""
        self.process.console.send(data)

    def _leave(self) -> None:
        for end in (self.process.bell, self.process.console):
            self.outside.unwatch(end.fileno())

    def close(self) -> None:
        """Kill QEMU, if it is there. What its console has printed by then is heard."""
        if self.process.pid is not None:
            if not self.ended:
                self.process.kill("closed")
            self._hear_the_rest()
            self._leave()
            self.outside.processors.dismiss(self.process.pid, self.process.cpus)
        self.outside.part(self)
        self.process.close()
