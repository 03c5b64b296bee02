"""The QEMU engine: a partition's vCPUs in a process of their own, in wall time.

For software that needs more of a machine than Unicorn has, such as an operating system: QEMU's
`virt` has devices, a GIC and timers of its own, and its RAM is a whole bank of our physical memory,
the same bytes. There is no other stage 2: what the guest has lent or given away it still reaches.
Calls come to our firmware, as from any engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ffabric.machine.engines.qemu import mailbox
from ffabric.machine.engines.qemu.interrupts import InterruptRelay
from ffabric.machine.engines.qemu.process import NORMAL, Image, Piece, QemuProcess, World
from ffabric.machine.engines.qemu.runner import QemuRunner
from ffabric.machine.host.outside import Outside
from ffabric.machine.lines import Lines

if TYPE_CHECKING:
    from ffabric.machine.context import Context
    from ffabric.machine.gic import Gic
    from ffabric.machine.machine import Machine

TICKS_PER_SECOND = 62_500_000
"""Of the counter that QEMU's CPUs have."""
PATIENCE = 60 * TICKS_PER_SECOND
"""How long a call waits for a peer that shows no sign of life."""
SPIN = TICKS_PER_SECOND // 2_000
"""How long a CPU that waits looks before it sleeps, if it has a processor to itself: 0.5 ms."""


class QemuGuest:
    """All vCPUs of one partition.

    `ram` is its RAM. `on_line` gets each line of its console. `gone`: up to four registers that a
    call returns when we are gone but QEMU is not. `image`: see `QemuProcess`.
    """

    patience = PATIENCE
    world: World = NORMAL

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
    ) -> None:
        if not 0 < cpus <= mailbox.MAX_CPUS:
            raise ValueError(f"{cpus} CPUs: QEMU's machine has up to {mailbox.MAX_CPUS}")
        self.name = name
        self.on_output: Callable[[bytes], object] | None = None
        """Gets what the console prints as it comes, too."""
        self.runners: list[QemuRunner] = []
        self.process = QemuProcess(name, cpus=cpus, el2=el2, ram=ram, world=self.world, image=image)
        self._machine = machine
        self._lines = Lines(on_line)
        self._gone = gone
        self._level = 2 if el2 else 1
        if machine.outside is None:
            machine.outside = Outside()
        self._outside = machine.outside

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

    def start(self) -> None:
        """Start QEMU, unless it was started."""
        if self.process.pid is None:
            processors = self._outside.processors
            usable = processors.divide(self.process.cpus)
            self.process.mailbox.setup(
                patience=self.patience, spin=SPIN if processors.divided else 0, gone=self._gone
            )
            self.process.start(usable)
            self._outside.join(self)
            self._outside.watch(self.process.bell.fileno(), self._rung)
            self._outside.watch(self.process.console.fileno(), self._printed)

    def look(self) -> bool:
        """See `Source.look`."""
        found = False
        for runner in self.runners:
            found |= runner.look()
        return found

    def attend(self, *, awake: bool) -> None:
        """See `Source.attend`."""
        self.process.mailbox.attend(awake=awake)

    def _rung(self) -> None:
        for runner in self.runners:
            runner.flush()
        if not self.process.drained():
            self._leave()

    def _printed(self) -> None:
        try:
            data = self.process.console.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if self.on_output is not None:
            self.on_output(data)
        if data:
            self._lines.write(data)
        else:
            self._outside.unwatch(self.process.console.fileno())
            self.flush()

    def flush(self) -> None:
        """Hand out the line that its console has begun, if there is one."""
        self._lines.flush()

    def type(self, data: bytes) -> None:
        """Send to its console."""
        self.process.console.send(data)

    def _leave(self) -> None:
        for end in (self.process.bell, self.process.console):
            self._outside.unwatch(end.fileno())

    def close(self) -> None:
        """Kill QEMU, if it is there."""
        if self.process.pid is not None:
            self._leave()
        self._outside.part(self)
        self.process.close()
