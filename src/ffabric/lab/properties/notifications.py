"""Notifications: what is bound may be set, what is set is got, once; a scheduler is told of it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications as abi
from ffabric.abi.ffa.status import Status
from ffabric.firmware.monitor.logical import FIRST_ID
from ffabric.lab.faults.stage import Side
from ffabric.lab.properties.trial import Trial, passes, refused, right
from ffabric.system.description.python import sp, vm

_ALL = -1
"""The key of global notifications, beside those of vCPUs."""
_STEPS = 14


class _Model:
    """What is bound and pending at one receiver, as the specification has it."""

    def __init__(self, side: Side, vcpus: int) -> None:
        self.side = side
        self.vcpus = vcpus
        self.bound: dict[tuple[bool, int], tuple[int, bool]] = {}
        """By the sender's world and the bit: the sender, and whether it is per vCPU."""
        self.pending: dict[tuple[bool, int], int] = defaultdict(int)
        """By the sender's world and the vCPU: bits."""
        self.told: dict[tuple[bool, int], int] = defaultdict(int)
        """Of those, the bits of which the scheduler has been told."""

    def may_bind(self, sender: Side, bits: int) -> bool:
        """Whether the bits are free, or the sender's, and nothing of them is pending."""
        world = _secure(sender)
        if any(each & bits for key, each in self.pending.items() if key[0] is world):
            return False
        owners = {self.bound[world, bit][0] for bit in _each(bits) if (world, bit) in self.bound}
        return owners <= {sender.id}

    def may_set(self, sender: Side, bits: int, vcpu: int) -> bool:
        """Whether all bits are bound to the sender, for all or for one vCPU."""
        wanted = sender.id, vcpu != _ALL
        bound = [self.bound.get((_secure(sender), bit)) for bit in _each(bits)]
        return all(each == wanted for each in bound) and vcpu < self.vcpus

    def get(self, vcpu: int) -> tuple[int, int]:
        """What a vCPU gets from SPs and from VMs."""
        found = []
        for world in (True, False):
            found.append(self.pending.pop((world, _ALL), 0) | self.pending.pop((world, vcpu), 0))
            for key in (_ALL, vcpu):
                self.told.pop((world, key), None)
        return found[0], found[1]

    def untold(self) -> set[tuple[int, int]]:
        """Whom the scheduler has to run, which it now knows: endpoint and vCPU, or `_ALL`.

        Who is to run a vCPU is not told of global notifications besides: that vCPU may get them.
        """
        keys = {key[1] for key, bits in self.pending.items() if bits & ~self.told[key]}
        vcpus = keys - {_ALL}
        for key, bits in self.pending.items():
            if keys and (key[1] in vcpus or key[1] == _ALL):
                self.told[key] = bits
        return {(self.side.id, key) for key in vcpus or keys}


def among_sps(trial: Trial) -> None:
    """SPs notify each other, with a kernel that has no interrupts enabled."""
    random = trial.random
    ids = random.sample(range(0x8002, FIRST_ID), 3)
    drafts = [sp(name, id=number, vcpus=2) for name, number in zip("abc", ids, strict=True)]
    system = trial.boot(sps=drafts, vms=["kernel"], hypervisor=False, pes=2)
    models = [_Model(trial.side(system, name), 2) for name in "abc"]
    for _ in range(_STEPS):
        random.choice((_bind, _bind, _set, _set, _get))(trial, models)
    for each in models:
        _get(trial, [each])


def among_vms(trial: Trial) -> None:
    """VMs notify each other, and one of them schedules the others."""
    random = trial.random
    system = trial.boot(sps=[], vms=[vm("a", has_primary_scheduler=True), "b", "c"])
    models = [_Model(trial.side(system, name), 1) for name in "abc"]
    for _ in range(_STEPS):
        act = random.choice((_bind, _bind, _set, _set, _get, _tell))
        act(trial, models)
    for each in models:
        _get(trial, [each])


def of_sps(trial: Trial) -> None:
    """A VM that schedules notifies SPs, and is told of them."""
    random = trial.random
    count = random.randrange(1, 5)
    ids = sorted(random.sample(range(0x8002, FIRST_ID), count))
    drafts: list[Any] = [
        sp(f"s{at}", id=number) if trial.chance(0.8) else f"s{at}" for at, number in enumerate(ids)
    ]
    system = trial.boot(sps=drafts, vms=[vm("a", has_primary_scheduler=True)])
    a = trial.side(system, "a")
    models = [_Model(trial.side(system, f"s{at}"), 1) for at in range(count)]
    for each in models:
        for _ in range(random.randrange(1, 3)):
            _bind(trial, [each, _Model(a, 1)], receiver=each)
    sender = _Model(a, 1)
    for _ in range(random.randrange(1, 6)):
        _set(trial, models, sender=sender)
        if trial.chance(0.3):
            _tell(trial, [sender, *models])
    _tell(trial, [sender, *models])


def _bind(trial: Trial, models: list[_Model], receiver: _Model | None = None) -> None:
    random = trial.random
    mine = receiver or random.choice(models)
    sender = random.choice([each.side for each in models])
    if receiver is not None and trial.chance(0.9):
        sender = next(each.side for each in models if each is not mine)
    bits = _bits(trial)
    flags = random.choice((0, 0, 1, 1, 1 << random.randrange(1, 16)))
    good = (
        sender is not mine.side and flags <= abi.PER_VCPU and bits and mine.may_bind(sender, bits)
    )

    def call() -> None:
        mine.side.ffa.notification_bind(sender.id, bits, flags)

    what = f"{mine.side} binds {bits:#x} to {sender}, flags {flags:#x}"
    if not good:
        refused(call, what)
        return
    passes(call, what)
    for bit in _each(bits):
        mine.bound[_secure(sender), bit] = sender.id, bool(flags)


def _set(trial: Trial, models: list[_Model], sender: _Model | None = None) -> None:
    random = trial.random
    target = random.choice(models)
    source = (sender or random.choice(models)).side
    bits, per_vcpu = _known_bits(trial, target, source)
    vcpu = random.choice((0, 0, target.vcpus - 1, target.vcpus)) if per_vcpu else _ALL
    flags = per_vcpu | (vcpu << 16 if per_vcpu else random.choice((0, 0, 0, 1 << 16)))
    if trial.chance(0.15):
        flags ^= random.choice((abi.PER_VCPU, abi.DELAY_SCHEDULE_RECEIVER, 1 << 9))
    key = flags >> 16 if flags & abi.PER_VCPU else _ALL
    legal = {0, abi.PER_VCPU}
    if _secure(source):
        legal |= {each | abi.DELAY_SCHEDULE_RECEIVER for each in legal}
    good = (
        flags & 0xFFFF in legal
        and (flags & abi.PER_VCPU or not flags >> 16)
        and bits
        and target.may_set(source, bits, key)
    )

    def call() -> None:
        source.ffa.notification_set(target.side.id, bits, flags)

    what = f"{source} sets {bits:#x} for {target.side}, flags {flags:#x}"
    if not good:
        refused(call, what)
        return
    for _ in range(1 + trial.chance(0.3)):
        passes(call, what)
    target.pending[_secure(source), key] |= bits


def _known_bits(trial: Trial, target: _Model, source: Side) -> tuple[int, int]:
    """Bits that are bound, mostly, and whether they are of vCPUs."""
    random = trial.random
    mine = [bit for (_, bit), (who, _) in target.bound.items() if who == source.id]
    if not mine or trial.chance(0.15):
        return _bits(trial), random.randrange(2)
    world = _secure(source)
    per_vcpu = target.bound[world, random.choice(mine)][1]
    same = [bit for bit in mine if target.bound[world, bit][1] is per_vcpu]
    chosen = random.sample(same, random.randrange(1, len(same) + 1))
    return sum(1 << bit for bit in chosen), int(per_vcpu)


def _get(trial: Trial, models: list[_Model]) -> None:
    mine = trial.random.choice(models)
    vcpu = trial.random.choice((*range(mine.vcpus), 0, mine.vcpus + trial.random.randrange(3)))

    def call() -> tuple[int, int, int]:
        got: tuple[int, int, int] = mine.side.ffa.notification_get(vcpu=vcpu)
        return got

    if vcpu >= mine.vcpus:
        refused(call, f"{mine.side} gets what vCPU {vcpu} has", Status.INVALID_PARAMETERS)
        return
    got = passes(call, f"{mine.side} gets what vCPU {vcpu} has")
    expected = mine.get(vcpu)
    right(got is None or got[:2] == expected, f"{mine.side} gets {got}, there is {expected}")


def _tell(trial: Trial, models: list[_Model]) -> None:
    """FFA_NOTIFICATION_INFO_GET, in one of its widths, by the first, who schedules."""
    scheduler = models[0].side
    expected = {each for model in models for each in model.untold()}
    narrow = trial.chance(0.5)
    function = fid.FFA_NOTIFICATION_INFO_GET_32 if narrow else fid.FFA_NOTIFICATION_INFO_GET_64

    def call() -> tuple[int, ...]:
        return scheduler.call(function)

    if not expected:
        refused(call, "nothing is pending", Status.NO_DATA)
        return
    x = passes(call, f"{len(expected)} wait for the scheduler")
    assert x is not None
    listed = abi.parse_pending(x[2:8], smc64=not narrow).lists
    found = {(each.endpoint, vcpu) for each in listed for vcpu in each.vcpus or (_ALL,)}
    right(found == expected, f"the scheduler is told of {found}, there are {expected}")


def _bits(trial: Trial) -> int:
    random = trial.random
    bit = random.choice((0, 1, 31, 32, 63, random.randrange(64)))
    return random.choice((1 << bit, 1 << bit, 1 << bit | 1 << random.randrange(64), 0))


def _each(bits: int) -> list[int]:
    return [bit for bit in range(64) if bits >> bit & 1]


def _secure(side: Side) -> bool:
    return bool(side.id & 0x8000)
