"""Discovery: everybody finds all partitions, as they are, in the layout of its own version."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any
from uuid import UUID

from ffabric.abi.ffa import features
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.flags import COUNT_ONLY
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.uuids import NIL
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3
from ffabric.lab.faults.stage import Side
from ffabric.lab.properties.trial import Trial, clean_after, refused, right, status
from ffabric.system.description.python import sp, vm

_VERSIONS = (V1_0, V1_1, V1_2, V1_3)
_SIZES = {V1_0: 0, V1_1: 24, V1_2: 24, V1_3: 48}
"""Bytes of a descriptor as the answer tells them; v1.0 does not."""
_HARMLESS = (
    fid.FFA_ID_GET,
    fid.FFA_SPM_ID_GET,
    fid.FFA_RX_RELEASE,
    fid.FFA_RX_ACQUIRE,
    fid.FFA_MEM_RECLAIM,
    fid.FFA_MEM_RELINQUISH,
    fid.FFA_MEM_FRAG_TX,
    fid.FFA_MEM_FRAG_RX,
    fid.FFA_PARTITION_INFO_GET_REGS,
)
"""Functions that do nothing if all their arguments are zero."""


def partitions(trial: Trial) -> None:
    """FFA_PARTITION_INFO_GET and _REGS tell of each partition once, or once for each UUID."""
    random = trial.random
    pool = [UUID(int=random.getrandbits(128)) for _ in range(4)]
    described: dict[str, dict[str, Any]] = {}
    for name in "bcd"[: random.randrange(1, 4)]:
        described[name] = {
            "ffa_version": random.choice(_VERSIONS),
            "messaging_method": 3,
            "uuid": [str(each) for each in random.sample(pool, random.randrange(1, 3))],
            "vcpus": random.choice((1, 2)),
            "id": random.choice((None, 0x8000 | random.randrange(0x100, 0x7F00))),
        }
        if described[name]["id"] is None:
            del described[name]["id"]
    version = random.choice(_VERSIONS)
    system = trial.boot(
        sps=[sp(name, **fields) for name, fields in described.items()],
        vms=[vm("a", ffa_version=version, messaging_method=3, vcpus=2)],
        pes=2,
    )
    found = {system.sp(name).id: fields for name, fields in described.items()}
    for name in ("a", *described):
        asking = system.vm("a") if name == "a" else system.sp(name)
        count = asking.ffa.call(fid.FFA_PARTITION_INFO_GET, 0, 0, 0, 0, COUNT_ONLY)
        if asking.ffa.version >= V1_1:
            right(status(count) is None, f"{name} needs buffers to count")
        _judge_all(trial, trial.side(system, name), found, pool)


def _judge_all(
    trial: Trial, side: Side, found: dict[int, dict[str, Any]], pool: list[UUID]
) -> None:
    several = side.version >= V1_2
    for uuid in [NIL, trial.random.choice(pool), NIL]:
        expected: Counter[tuple[int, int]] = Counter()
        for number, fields in found.items():
            own = [UUID(each) for each in fields["uuid"] if uuid in (NIL, UUID(each))]
            for each in own if several else own[:1]:
                shown = each.int if uuid == NIL and side.version >= V1_1 else 0
                expected[number, shown] += 1
        if not expected:
            refused(partial(side.ffa.partition_info, uuid), f"{uuid} is nobody's")
            continue
        x = side.call(fid.FFA_PARTITION_INFO_GET, *_words(uuid), 0)
        count, size = x[2], x[3] & 0xFFFF_FFFF
        right(size == _SIZES[side.version], f"{side} is told of descriptors of {size} bytes")
        size = size or info.descriptor_size(V1_0)
        clean_after(side, count * size)
        infos = info.parse_partition_info(side.got(count * size), count, size)
        side.ffa.rx_release()
        _compare(side, infos, found, expected)
        if several:
            _compare(side, side.ffa.partition_info_regs(uuid), found, expected)


def _words(uuid: UUID) -> list[int]:
    return [int.from_bytes(uuid.bytes[at : at + 4], "little") for at in range(0, 16, 4)]


def _compare(
    side: Side,
    infos: list[info.PartitionInfo],
    found: dict[int, dict[str, Any]],
    expected: Counter[tuple[int, int]],
) -> None:
    secure = [each for each in infos if each.id & 0x8000]
    ids = Counter((each.id, each.uuid.int) for each in secure)
    told = Counter(each.id for each in secure)
    wanted: Counter[int] = Counter()
    for (number, _), times in expected.items():
        wanted[number] += times
    right(told == wanted, f"{side} finds {dict(told)}, there are {dict(wanted)}")
    if side.version >= V1_2:
        right(ids == expected, f"{side} finds other UUIDs than there are")
    for each in secure:
        right(each.contexts == found[each.id]["vcpus"], f"{each} has other vCPUs")
        if side.version >= V1_1:
            right(each.properties & info.AARCH64, f"{each} has no execution state")


def abilities(trial: Trial) -> None:
    """FFA_FEATURES tells of what there is, to those whom it concerns, and of nothing else."""
    random = trial.random
    level = random.choice((0, 1))
    system = trial.boot(
        sps=[sp("b", exception_level=1 + level), sp("c")],
        vms=["a"],
        hypervisor=random.random() < 0.5,
    )
    sides = [trial.side(system, name) for name in "abc"]
    side = random.choice(sides)
    secure, el0 = bool(side.id & 0x8000), side is sides[1] and level == 0
    for feature in random.sample([features.NPI, features.SRI, features.MEI], 2):
        asked = side.ffa.call(fid.FFA_FEATURES, feature, random.choice((0, 0, 1)))
        told = status(asked) is None
        right(not (told and el0), f"{side} at S-EL0 is told of the interrupt {feature}")
        if feature == features.MEI:
            right(secure or not told, f"{side} of the normal world is told of managed exits")
        elif feature == features.SRI:
            right(not (secure and told), f"the SP {side} is told of the scheduler's interrupt")
        extra = side.ffa.call(fid.FFA_FEATURES, feature, random.randrange(1, 1 << 32))
        right(status(extra) is Status.NOT_SUPPORTED, f"{side}: properties of {feature} are taken")
    for function in random.sample(_HARMLESS, 6):
        offered = status(side.ffa.call(fid.FFA_FEATURES, function)) is None
        answer = status(side.ffa.call(function))
        name = fid.function_name(function)
        if answer is not Status.DENIED:
            there = answer is not Status.NOT_SUPPORTED
            right(offered is there, f"{side}: {name} is {'' if offered else 'not '}offered")
    number = random.choice((fid.FIRST_NUMBER, 0xEF, random.randrange(0x60, 0xF0)))
    unknown = random.choice((0x8400_0000, 0xC400_0000)) | number
    if unknown not in fid.FUNCTIONS:
        answer = status(side.ffa.call(unknown))
        right(answer is Status.NOT_SUPPORTED, f"{side}: {unknown:#x} is answered {answer}")


def negotiation(trial: Trial) -> None:
    """A version is agreed on before the first other call, and not afterwards."""
    random = trial.random
    a, b, _ = trial.world_of(("vm-sp", "sp-sp", "vm-vm"))
    side = random.choice((a, b))
    former = side.version
    asked = random.choice([each for each in _VERSIONS if each != former])
    answer = side.ffa.call(fid.FFA_VERSION, asked)[0]
    right(answer == 0xFFFF_FFFF, f"{side} changes to version {asked:#x}: {answer:#x}")
    same = side.ffa.call(fid.FFA_VERSION, former)[0]
    right(same in (former, max(_VERSIONS)), f"{side} is told version {same:#x}")
