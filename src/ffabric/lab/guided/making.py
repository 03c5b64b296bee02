"""Calls that hostile endpoints make: built as they should be, with values that may matter.

Payloads, descriptors and registers are filled with what the targets compare with, what their
answers contained, identities, addresses, and the boundaries of fields. A call may then be damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from uuid import UUID

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa import messages
from ffabric.abi.ffa.uuids import to_pair
from ffabric.abi.ffa.version import V1_1
from ffabric.abi.words import MASK32, PAGE, halves, pack_ids
from ffabric.lab.calls.lines import Call
from ffabric.lab.fuzz.calls.registers import BOUNDARIES, FFA_IDS, LAST
from ffabric.lab.guided.scene import ARENA, Attacker, Scene, Target

HANDLES = 8
"""Handles are given out in ascending order: the first ones are those that are in use."""
_SENDS = (fid.FFA_MEM_SHARE_32, fid.FFA_MEM_LEND_32, fid.FFA_MEM_DONATE_32, fid.FFA_MEM_SHARE_32)
_RANDOM = [each for each in FFA_IDS if each not in LAST]


def opening(scene: Scene) -> list[Call]:
    """What comes first in every case: the attackers map their buffers."""
    return [
        Call(0, each.name, x=[fid.FFA_RXTX_MAP_64, each.tx, each.rx, 1]) for each in scene.attackers
    ]


class Maker:
    """Makes calls in ``scene``; ``learnt`` are numbers that came back from it before."""

    def __init__(self, random: Random, scene: Scene, learnt: Sequence[int] = ()) -> None:
        self._random = random
        self._scene = scene
        self._numbers = [*scene.numbers, *learnt]
        self._ids = [each.id for each in scene.attackers] + [each.id for each in scene.targets]
        self._kinds: list[Callable[[Attacker, Target], Call]] = [
            *[self._direct] * 6,
            *[self._direct2] * 2,
            *[self._send] * 4,
            self._message,
            self._notify,
            self._reclaim,
            self._run,
            self._any,
        ]

    def call(self) -> Call:
        """One call of an attacker, to a target if it is to anybody."""
        random, scene = self._random, self._scene
        attacker = random.choice(scene.attackers)
        call = random.choice(self._kinds)(attacker, random.choice(scene.targets))
        call.pe = random.choice(attacker.pes) if len(attacker.pes) > 1 else None
        return call

    def value(self) -> int:
        """A value for a register of a payload."""
        random = self._random
        kind = random.random()
        if kind < 0.4 and self._numbers:
            return random.choice(self._numbers)
        if kind < 0.5:
            return random.randrange(HANDLES)
        if kind < 0.6:
            attacker = random.choice(self._scene.attackers)
            return attacker.base + random.randrange(ARENA) * PAGE
        if kind < 0.7:
            return random.choice(self._ids)
        return random.choice(BOUNDARIES) if kind < 0.95 else random.getrandbits(64)

    def payload(self, most: int) -> list[int]:
        """The words of a message: as many as may matter, or fewer."""
        return [self.value() for _ in range(self._random.randint(0, most))]

    def data(self) -> bytes:
        """Bytes of a message or of memory that is shared."""
        words = [self.value() for _ in range(self._random.randint(0, 12))]
        size = self._random.choice((1, 2, 4, 8))
        return b"".join((each & ((1 << 8 * size) - 1)).to_bytes(size, "little") for each in words)

    # Calls.

    def _direct(self, attacker: Attacker, target: Target) -> Call:
        ids = pack_ids(attacker.id, target.id)
        if self._random.random() < 0.5:
            words = [each & MASK32 for each in self.payload(5)]
            return Call(0, attacker.name, x=[fid.FFA_MSG_SEND_DIRECT_REQ_32, ids, 0, *words])
        return Call(0, attacker.name, x=[fid.FFA_MSG_SEND_DIRECT_REQ_64, ids, 0, *self.payload(5)])

    def _direct2(self, attacker: Attacker, target: Target) -> Call:
        uuid = UUID(int=self._random.choice(target.uuids or (0,)))
        ids = pack_ids(attacker.id, target.id)
        words = [*to_pair(uuid), *self.payload(14)]
        return Call(0, attacker.name, x=[fid.FFA_MSG_SEND_DIRECT_REQ2, ids, *words])

    def _send(self, attacker: Attacker, target: Target) -> Call:
        """Memory for the target, with something in it."""
        random = self._random
        function = random.choice(_SENDS)
        donated = function == fid.FFA_MEM_DONATE_32
        pages = random.sample(range(ARENA), random.choice((1, 1, 1, 2, 3)))
        transaction = abi.Transaction(
            sender=attacker.id,
            attributes=mem.MEM_ATTR_NORMAL_WB_INNER if function == fid.FFA_MEM_SHARE_32 else 0,
            receivers=[abi.Receiver(target.id, 0 if donated else mem.PERM_DATA_RW)],
            constituents=[(attacker.base + each * PAGE, 1) for each in pages],
        )
        descriptor = abi.build_transaction(transaction, attacker.version)
        writes = [(attacker.tx, descriptor)]
        if data := self.data():
            writes.append((attacker.base + pages[0] * PAGE, data))
        size = len(descriptor)
        return Call(0, attacker.name, x=[function, size, size, 0, 0], write=writes)

    def _message(self, attacker: Attacker, target: Target) -> Call:
        if attacker.version < V1_1:
            return self._direct(attacker, target)
        uuid = UUID(int=self._random.choice((0, *target.uuids)))
        message = messages.Message(attacker.id, target.id, self.data(), uuid)
        data = messages.build_message(message, attacker.version)
        return Call(0, attacker.name, x=[fid.FFA_MSG_SEND2, 0, 0], write=[(attacker.tx, data)])

    def _notify(self, attacker: Attacker, target: Target) -> Call:
        random = self._random
        bitmap = 1 << random.randrange(64)
        function = random.choice((fid.FFA_NOTIFICATION_SET, fid.FFA_NOTIFICATION_BIND))
        ids = (attacker.id, target.id)
        sender, receiver = ids if function == fid.FFA_NOTIFICATION_SET else ids[::-1]
        words = [pack_ids(sender, receiver), random.choice((0, 0, 2)), *halves(bitmap)]
        return Call(0, attacker.name, x=[function, *words])

    def _reclaim(self, attacker: Attacker, _target: Target) -> Call:
        handle = self._random.randrange(HANDLES)
        return Call(0, attacker.name, x=[fid.FFA_MEM_RECLAIM, *halves(handle), 0])

    def _run(self, attacker: Attacker, target: Target) -> Call:
        return Call(0, attacker.name, x=[fid.FFA_RUN, pack_ids(target.id, 0)])

    def _any(self, attacker: Attacker, _target: Target) -> Call:
        return Call(0, attacker.name, x=[self._random.choice(_RANDOM), *self.payload(7)])
