"""Manifests and boot: what cannot be is refused, what can be is laid out and started as it says."""

from __future__ import annotations

from ffabric import Ffa, Partition
from ffabric.abi.ffa import boot_info
from ffabric.abi.ffa.version import V1_1, V1_2
from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor.vms.ids import VmIds
from ffabric.firmware.monitor.logical import FIRST_ID
from ffabric.guests.calls.messages import DirectMessage
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.properties.trial import Trial, right
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp
from ffabric.system.manifest import checks
from ffabric.system.manifest.manifest import Granule, Manifest, MemoryRegion
from ffabric.system.options.problems import Problems, SystemErrors

_BASE = 0x0700_0000
_LAYOUTS = 8
"""Manifests of a trial: none of them takes a system."""
_GRANULES = {Granule.KIB_4: PAGE, Granule.KIB_16: 4 * PAGE, Granule.KIB_64: 16 * PAGE}


def regions(trial: Trial) -> None:
    """Memory regions of a manifest: aligned, not empty, and apart from each other."""
    for _ in range(_LAYOUTS):
        _placed(trial)


def _placed(trial: Trial) -> None:
    random = trial.random
    granule = random.choice([*_GRANULES])
    unit = _GRANULES[granule]
    places: list[tuple[int, int]] = []
    for _ in range(random.randrange(1, 4)):
        base = _BASE + random.randrange(12) * unit
        if trial.chance(0.1):
            base += random.choice((PAGE, 16, 0x800))
        places.append((base, random.choice((1, 1, 2, 4, 8, 0))))
    found = tuple(
        MemoryRegion(name=f"r{at}", base_address=base, pages=pages, attributes=3)
        for at, (base, pages) in enumerate(places)
    )
    trial.tried += 1
    problems = Problems()
    checks.check_manifest(
        Manifest(ffa_version=V1_2, xlat_granule=granule, memory_regions=found), problems, "b"
    )
    wrong = any(not pages or base % unit for base, pages in places)
    for at, (base, pages) in enumerate(places):
        for other, more in places[at + 1 :]:
            wrong |= base < other + more * unit and other < base + pages * unit
    said = "refused" if problems.found else "accepted"
    right(bool(problems.found) is wrong, f"regions {places} of granule {unit:#x}: {said}")


def started(trial: Trial) -> None:
    """SPs start in their order, each with the id of its manifest; one that fails is alone."""
    random = trial.random
    order: list[str] = []
    failing: set[str] = set()

    class Noting(Partition):
        async def on_boot(self, ffa: Ffa) -> None:
            order.append(self.name)
            if self.name in failing:
                raise RuntimeError("no device")

        async def on_direct_request(self, request: DirectMessage, ffa: Ffa) -> list[int]:
            return request.respond(7)

    count = random.randrange(2, 5)
    numbers = random.sample(range(1, 9), count)
    ids = random.sample(range(0x8002, FIRST_ID), count)
    names = [f"s{at}" for at in range(count)]
    failing |= {name for name in names if trial.chance(0.2)}
    sps = [
        sp(Noting(name), boot_order=number, manifest=Manifest(ffa_version=V1_2, id=id_ & 0x7FFF))
        if trial.chance(0.5)
        else sp(Noting(name), boot_order=number, id=id_)
        for name, number, id_ in zip(names, numbers, ids, strict=True)
    ]
    try:
        system = trial.boot(sps=sps, vms=["a"], stop_on_crash=False)
    except SystemErrors as errors:
        raise Discrepancy(f"a system of {numbers} and {ids}: {errors}") from errors
    right(sorted(order) == names, f"{order} have begun, there are {names}")
    a = system.vm("a").ffa
    for name, id_ in zip(names, ids, strict=True):
        right(system.sp(name).id == id_, f"{name} has the id {system.sp(name).id:#x}, not {id_:#x}")
        if name not in failing:
            try:
                answer = a.direct_request(id_, 1).payload[0]
            except Blocked:
                answer = None
            right(answer == 7, f"{name} does not serve, {[*failing]} have failed")


def in_order(trial: Trial) -> None:
    """Boot order: the smaller number first."""
    random = trial.random
    order: list[str] = []

    class Noting(Partition):
        async def on_boot(self, ffa: Ffa) -> None:
            order.append(self.name)

    numbers = random.sample(range(0xFFFF), random.randrange(2, 5))
    trial.boot(sps=[sp(Noting(f"s{each}"), boot_order=each) for each in numbers], vms=[])
    expected = [f"s{each}" for each in sorted(numbers)]
    right(order == expected, f"SPs are initialised as {order}, not {expected}")


def told(trial: Trial) -> None:
    """Boot information: what is told is what there is."""
    random = trial.random
    trial.tried += 1
    entries = [
        boot_info.BootInfo("FDT", contents=random.randrange(1, 1 << 20) * PAGE, size=16 * (at + 1))
        for at in range(random.randrange(1, 5))
    ]
    version = random.choice((V1_1, V1_2))
    found = boot_info.parse_boot_info(boot_info.build_boot_info(entries, version))[1]
    right([*found] == entries, f"{len(found)} entries of {len(entries)}, or others")


def identities(trial: Trial) -> None:
    """Ids of VMs are new, and of the normal world, however many there have been."""
    random = trial.random
    taken: set[int] = set()
    ids = VmIds(lambda: taken)
    at = random.choice((1, random.randrange(1, 0x7FFF), 0x7FF8, 0x7FFF))
    ids.take(at)
    taken.add(at)
    for _ in range(12):
        trial.tried += 1
        number = ids.next()
        right(0 < number < 0x8000, f"a VM has the id {number:#x}")
        right(number not in taken, f"two VMs have the id {number:#x}")
        ids.take(number)
        taken.add(number)
        if trial.chance(0.5):
            taken.discard(random.choice([*taken]))
