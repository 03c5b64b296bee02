"""Memory: a transaction that is right passes, and does what it says; with one thing wrong, none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import PAGE
from ffabric.lab.faults.stage import DONATE, LEND, NX, RO, RW, SHARE, Side
from ffabric.lab.properties.trial import Trial, passes, refused, right
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import MemoryRegion, RegionAttributes

_KINDS = ("vm-sp", "sp-sp", "vm-vm", "kernel-sp")
_TYPES = {SHARE: mem.FLAG_TYPE_SHARE, LEND: mem.FLAG_TYPE_LEND, DONATE: mem.FLAG_TYPE_DONATE}
_DEVICE = mem.MEM_ATTR_TYPE_DEVICE | mem.MEM_ATTR_DEVICE_NGNRNE | mem.MEM_ATTR_INNER_SHAREABLE
_ROM = 0x0700_0000

Ranges = list[tuple[int, int]]


def sending(trial: Trial) -> None:
    """FFA_MEM_SHARE, _LEND and _DONATE: the owner's access follows, or nothing has happened."""
    random = trial.random
    a, b, c = trial.world_of(_KINDS)
    function, receivers = _offer(trial, b, c)
    ranges = _ranges(trial, a)
    if trial.chance(0.7):
        wrong = random.choice([*_WRONG])
        offered = _WRONG[wrong](trial, a, receivers, ranges)
        if offered is not None:
            to, pages, fields = offered
            refused(lambda: a.send(function, to, pages, **fields), f"a transaction with {wrong}")
            for at, count in ranges:
                right(a.reaches(at, write=True), f"{a} has lost {count} pages that nobody has")
    handle = passes(lambda: a.send(function, receivers, ranges), f"{len(ranges)} ranges")
    keeps = function == SHARE or a.handle.endpoint.partition.stage2 is None
    for at, count in ranges:
        for page in range(at, at + count * PAGE, PAGE):
            right(a.reaches(page) is keeps, f"{a} {'has lost' if keeps else 'keeps'} {page:#x}")
    assert handle is not None
    if trial.chance(0.5):
        refused(lambda: a.send(SHARE, [b], ranges), "memory that was sent before")
    passes(lambda: a.reclaim(handle), "reclaiming what nobody has retrieved")
    for at, _ in ranges:
        right(a.reaches(at, write=True), f"{a} does not have back what it has reclaimed")


def _offer(trial: Trial, b: Side, c: Side) -> tuple[int, list[Side]]:
    function = trial.random.choice((SHARE, SHARE, LEND, LEND, DONATE))
    receivers = [b] if function == DONATE or trial.chance(0.6) else [b, c]
    return function, receivers


def _ranges(trial: Trial, a: Side) -> Ranges:
    """Fresh memory: ranges in any order, some of which adjoin."""
    random = trial.random
    count = random.randrange(1, 5)
    at = a.page(4 * count)
    found = []
    for _ in range(count):
        pages = random.randrange(1, 3)
        found.append((at, pages))
        at += (pages + random.choice((0, 0, 1, 2))) * PAGE
    if trial.chance(0.3):
        random.shuffle(found)
    return found


Offered = tuple[list[Any], Ranges, dict[str, Any]]
_Wrong = Callable[[Trial, Side, list[Side], Ranges], Offered | None]


def _total(trial: Trial, a: Side, to: list[Side], ranges: Ranges) -> Offered:
    pages = sum(count for _, count in ranges)
    other = pages + trial.random.choice((-1, 1, 1 << 20))
    return [*to], ranges, {"total_pages": other or 1 << 20}  # 0 is filled in when it is written


def _empty(trial: Trial, a: Side, to: list[Side], ranges: Ranges) -> Offered:
    at = a.page(1)
    return [*to], [*ranges, (at, 0)], {}


def _huge(trial: Trial, a: Side, to: list[Side], ranges: Ranges) -> Offered:
    count = trial.random.choice((1 << 20, 1 << 28, (1 << 32) - 1))
    return [*to], [(ranges[0][0], count)], {}


def _overlap(trial: Trial, a: Side, to: list[Side], ranges: Ranges) -> Offered:
    at, pages = trial.random.choice(ranges)
    return [*to], [*ranges, (at + trial.random.randrange(pages) * PAGE, 1)], {}


def _crooked(trial: Trial, a: Side, to: list[Side], ranges: Ranges) -> Offered:
    at, pages = ranges[-1]
    return [*to], [*ranges[:-1], (at + trial.random.choice((1, 8, 0x800)), pages)], {}


def _nobody(trial: Trial, a: Side, to: list[Side], ranges: Ranges) -> Offered:
    return [], trial.random.choice(([], ranges)), {}


def _nothing(trial: Trial, a: Side, to: list[Side], ranges: Ranges) -> Offered:
    return [*to], [], {}


def _itself(trial: Trial, a: Side, to: list[Side], ranges: Ranges) -> Offered:
    return [a, *to[1:]], ranges, {}


def _twice(trial: Trial, a: Side, to: list[Side], ranges: Ranges) -> Offered:
    return [to[0], to[0]], ranges, {}


def _stranger(trial: Trial, a: Side, to: list[Side], ranges: Ranges) -> Offered:
    return [0x9ABC], ranges, {}


_WRONG: dict[str, _Wrong] = {
    "another page count": _total,
    "a range of no pages": _empty,
    "a huge range": _huge,
    "ranges that overlap": _overlap,
    "a range inside a page": _crooked,
    "no receivers": _nobody,
    "no ranges": _nothing,
    "its sender as receiver": _itself,
    "a receiver twice": _twice,
    "an unknown receiver": _stranger,
}
"""What may be wrong with a transaction."""


def retrieving(trial: Trial) -> None:
    """FFA_MEM_RETRIEVE_REQ: what is asked is compared with what was sent, and is what one gets."""
    random = trial.random
    versions = [random.choice(("1.0", "1.1", "1.2", "1.3")) for _ in range(2)]
    a, b, c = _mixed(trial, versions)
    function = random.choice((SHARE, LEND, DONATE))
    alone = function == DONATE or trial.chance(0.6)
    offered = 0 if function == DONATE else random.choice((RO, RW))
    tag = 0 if trial.chance(0.3) else random.getrandbits(64)
    clears = function != SHARE and offered != RO and trial.chance(0.3)
    flags = mem.FLAG_CLEAR if clears else 0
    ranges = _ranges(trial, a)
    receivers = [b] if alone else random.sample([b, c], 2)
    device = function == SHARE and trial.chance(0.2)
    typed: dict[str, Any] = {"attributes": _DEVICE} if device else {}
    for at, _ in ranges:
        a.memory.write(at, b"secret")
    handle = passes(
        lambda: a.send(function, receivers, ranges, offered, tag=tag, flags=flags, **typed),
        "a transaction",
    )
    assert handle is not None
    rights = random.choice((RO, RW)) if offered in (0, RW) else RO
    asked = rights | (NX if function != SHARE and alone else 0)
    others = [each for each in receivers if each is not b]
    fields: dict[str, Any] = {"tag": tag, "others": others}
    if device:
        fields["attributes"] = _DEVICE
    _wrong_requests(trial, (a, b), handle, asked, fields, offered=offered, clears=clears)
    got = passes(lambda: b.retrieve(handle, a, asked, **fields), "retrieving")
    assert got is not None
    _judge_response(trial, a, b, got, ranges, tag=tag, kind=_TYPES[function], handle=handle)
    for address, _ in got.constituents:
        writes = rights != RO
        right(b.reaches(address, write=writes), f"{b} does not reach what it has retrieved")
        if not writes:
            right(not b.reaches(address, write=True), f"{b} writes what it has for reading")
        if clears:
            right(not any(b.memory.read(address, 16)), f"{b} finds what was to be cleared")
    if function != DONATE:
        passes(lambda: b.relinquish(handle), "relinquishing")
        passes(lambda: a.reclaim(handle), "reclaiming")
        for at, _ in ranges:
            right(a.reaches(at, write=True), f"{a} does not have back what it has reclaimed")


def _mixed(trial: Trial, versions: list[str]) -> tuple[Side, Side, Side]:
    """An owner, and two borrowers: SPs, or an SP and a VM."""
    fields: list[dict[str, Any]] = [
        {"ffa_version": each, "messaging_method": 3} for each in versions
    ]
    vms = [vm("a", **fields[0])]
    sps = [sp("b", **fields[1])]
    if trial.chance(0.5):
        vms.append(vm("c"))
    else:
        sps.append(sp("c"))
    system = trial.boot(sps=sps, vms=vms)
    a, b, c = (trial.side(system, name) for name in "abc")
    return a, b, c


def _wrong_requests(
    trial: Trial, sides: tuple[Side, Side], handle: int, asked: int, fields: dict[str, Any],
    *, offered: int, clears: bool,
) -> None:  # fmt: skip
    """Requests of the second side for what the first has sent: refused, with one thing wrong."""
    a, b = sides
    random = trial.random
    tag = fields["tag"]
    for wrong in random.sample(("tag", "rights", "bypass", "type", "sender", "clear"), 2):
        more = dict(fields)
        rights, sender = asked, a
        if wrong == "tag":
            more["tag"] = tag ^ 1 << random.randrange(64)
        elif wrong == "rights" and offered == RO:
            rights = asked & ~mem.PERM_DATA_MASK | RW
        elif wrong == "bypass" and not fields["others"]:
            more["flags"] = mem.FLAG_BYPASS_BORROWERS_CHECK
        elif wrong == "type" and "attributes" in fields:
            more["attributes"] = mem.MEM_ATTR_NORMAL_WB_INNER
        elif wrong == "sender":
            sender = b
        elif wrong == "clear" and clears:
            rights = asked & ~mem.PERM_DATA_MASK | RO
            more["flags"] = mem.FLAG_CLEAR
        else:
            continue
        asks = partial(b.retrieve, handle, sender, rights, **more)
        refused(asks, f"a request, wrong: {wrong}")


def _judge_response(
    trial: Trial, a: Side, b: Side, got: abi.Transaction, ranges: Ranges,
    *, tag: int, kind: int, handle: int,
) -> None:  # fmt: skip
    right(got.handle == handle, f"{b} gets the handle {got.handle:#x}, not {handle:#x}")
    right(got.sender == a.id, f"{b} gets the sender {got.sender:#x}, not {a.id:#x}")
    right(got.tag == tag, f"{b} gets the tag {got.tag:#x}, not {tag:#x}")
    right(got.flags & mem.FLAG_TYPE_MASK == kind, f"{b} gets the flags {got.flags:#x}")
    own = [each.endpoint for each in got.receivers]
    right(b.id in own, f"{b} is told of the receivers {own}")
    pages = sum(count for _, count in got.constituents)
    sent = sum(count for _, count in ranges)
    right(pages == sent, f"{b} gets {pages} pages, {sent} were sent")


def clearing(trial: Trial) -> None:
    """Memory that its owner can only read is not cleared for it."""
    random = trial.random
    writable = random.random() < 0.3
    attributes = RegionAttributes.READ | (RegionAttributes.WRITE if writable else 0)
    region = MemoryRegion(name="rom", pages=4, attributes=attributes, base_address=_ROM)
    system = trial.boot(sps=[sp("a", memory_regions=(region,)), "b"], vms=[])
    a, b = trial.side(system, "a"), trial.side(system, "b")
    first = random.randrange(4)
    ranges = [(_ROM + first * PAGE, random.randrange(1, 5 - first))]
    rights = RO if not writable else RW
    clears = mem.FLAG_CLEAR if trial.chance(0.7) else 0
    if clears and not writable:
        refused(lambda: a.send(LEND, [b], ranges, rights, flags=clears), "clearing", Status.DENIED)
    else:
        passes(lambda: a.send(LEND, [b], ranges, rights, flags=clears), "lending a region")
