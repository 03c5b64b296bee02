"""Play a case in a system of its own, and say what it has reached and what it has broken.

What is broken is one of these:

- *crashed*: a partition that is attacked crashed;
- *wedged*: one computes and makes no call any more;
- *unanswered*: an attacker waits for ever, and whoever has its request does nothing any more;
- *endless*: calls without end, more than `EXITS` in one case;
- *invariant*: what is judged besides at every call, if anything is, does not hold;
- *firmware*: ffabric itself raised, which is no fault of the system that is tested.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.firmware.state.context import State
from ffabric.lab.calls.player import Player
from ffabric.lab.guided.coverage import Blocks, Lines, Transitions
from ffabric.lab.invariants.invariants import Judge
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.watchdog import Watchdog
from ffabric.machine.machine import OutOfExits, Stalled
from ffabric.system.booting.boot import boot
from ffabric.system.spec import PythonSource

if TYPE_CHECKING:
    from ffabric.lab.calls.lines import Call
    from ffabric.lab.calls.player import Answer
    from ffabric.machine.events import Tracer
    from ffabric.system.spec import PartitionSpec, SystemSpec
    from ffabric.system.system import System

EXITS = 100_000
"""The most exits of a case."""
WEDGED = "wedged"
PATIENCE = 2.0
"""Seconds of wall time in which Python that is attacked makes a call."""
_LEARNT = 32
"""The most numbers that a case tells of its answers."""
_REPLIES = frozenset(
    {
        fid.FFA_SUCCESS_32,
        fid.FFA_SUCCESS_64,
        fid.FFA_MSG_SEND_DIRECT_RESP_32,
        fid.FFA_MSG_SEND_DIRECT_RESP_64,
        fid.FFA_MSG_SEND_DIRECT_RESP2,
    }
)
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+")


class Finding(msgspec.Struct, frozen=True):
    """What is broken: of which kind, `who`, the `reason` in a line, `where` in Python code."""

    kind: str
    """`WEDGED`, "crashed", "endless", "unanswered"; "firmware" for an exception of ours."""
    who: str
    reason: str
    where: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What two findings share that are, as far as one can tell, of one fault."""
        if self.kind == WEDGED:  # where it was when somebody looked is chance
            return self.kind, self.who, ""
        return self.kind, self.who, self.where or _NUMBER.sub("#", self.reason)

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        return f"{self.kind}: {self.who}: {self.reason}{where}"


class Outcome(msgspec.Struct, frozen=True):
    """What a case has reached, which numbers came back, how many calls it was; what is broken."""

    features: frozenset[str]
    numbers: tuple[int, ...]
    calls: int
    finding: Finding | None = None


class Stage:
    """A system that is attacked: each case gets one of its own, booted anew.

    `names` are the endpoints that attack. Lines of Python below `folder` count as reached.
    `invariants` are judged at every call.
    """

    def __init__(
        self, spec: SystemSpec, names: Sequence[str], folder: Path, invariants: Sequence[str] = ()
    ) -> None:
        self._invariants = invariants
        self._lines = Lines(folder)
        self.spec = replace(
            spec,
            sps=tuple(map(self._watched, spec.sps)),
            vms=tuple(map(self._watched, spec.vms)),
            run=replace(
                spec.run, max_events=EXITS, expect=(), fail_on=(), time_limit=None, stop_on=""
            ),
        )
        self.names = [*names]

    def _watched(self, partition: PartitionSpec) -> PartitionSpec:
        source = partition.source
        if not isinstance(source, PythonSource) or source.target is None:
            return partition
        return replace(partition, source=self._lines.watched(source))

    def play(self, calls: Sequence[Call]) -> Outcome:
        """Play a case to its end, or until something is broken."""
        reached, lines = Transitions(self.names), self._lines
        lines.features = set()
        numbers: dict[int, None] = {}
        made, finding = 0, None
        blocks: Blocks | None = None
        try:
            with (
                boot(self.spec) as system,
                Watchdog(system.machine, PATIENCE),
            ):
                blocks = Blocks(system)
                player = Player(system, self.names, self._judged(system, reached))
                for call in calls:
                    made += 1
                    for answer in player.play(call):
                        numbers.update(dict.fromkeys(_learnt(answer)))
                    finding = self._judge(system, player)
                    if finding is not None:
                        break
                else:
                    finding = self._unanswered(system)
        except OutOfExits as spent:
            finding = Finding("endless", "the system", str(spent))
        except Discrepancy as broken:
            finding = Finding("invariant", "the system", str(broken))
        except Exception as error:  # noqa: BLE001 - whatever is raised is what was looked for
            finding = _of_ours(error)
        features = frozenset(
            reached.features | lines.features | (blocks.features if blocks is not None else set())
        )
        return Outcome(features, tuple(numbers)[:_LEARNT], made, finding)

    def _judged(self, system: System, reached: Transitions) -> Tracer:
        """What hears the run: the invariants, if any are judged, and ``reached``."""
        if not self._invariants:
            return reached
        system.attach(reached)
        return Judge(system, *self._invariants)

    def _judge(self, system: System, player: Player) -> Finding | None:
        for death in system.deaths:
            if death.name not in self.names:
                kind = WEDGED if death.wedged else "crashed"
                return Finding(kind, death.name, death.reason, death.where)
        if player.spent:
            return Finding("endless", "the system", f"more than {EXITS} exits")
        return None

    def _unanswered(self, system: System) -> Finding | None:
        """A request of an attacker, and the PE, that one has who does nothing with them."""
        with suppress(Stalled):
            system.run()
        for name in self.names:
            for ctx in system.endpoint(name).partition.contexts:
                has = ctx.pe.current if ctx.pe is not None else None
                waits = ctx.state is State.BLOCKED and not ctx.yielded
                if waits and has is not None and has.endpoint not in self.names:
                    return Finding("unanswered", has.endpoint, f"a request of {name}")
        return None


def _learnt(answer: Answer) -> list[int]:
    """Numbers in the answer to a call that passed."""
    x = [int(each, 16) for each in answer.get("x", ())]
    return [each for each in x[2:] if each] if x and x[0] & MASK32 in _REPLIES else []


def _of_ours(error: Exception) -> Finding:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno} {last.name}"
    return Finding("firmware", "ffabric", f"{type(error).__name__}: {error}", where)
