"""TX changes while it is read, and memory runs out: what was decided is what happens."""

from __future__ import annotations

from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import messages
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import PAGE
from ffabric.lab.faults.stage import LEND, RO, RW, SHARE, Side, let_go
from ffabric.lab.invariants.invariants import Invariants
from ffabric.lab.properties.trial import Trial, passes, refused, right
from ffabric.session.system import System


class Restless(Trial):
    """A trial whose TX changes; the account of what calls say would see either content."""

    def judge(self, system: System) -> None:
        """All but the account of calls."""
        Invariants(system, "isolation", "contexts", "buffers", "progress")


def requests(trial: Trial) -> None:
    """A retrieve request that changes gives what was asked, or nothing."""
    a, b, _ = trial.world_of(("vm-sp", "sp-sp", "vm-vm"))
    page = a.page()
    granted = trial.random.choice((RO, RW))
    handle = a.send(SHARE, [b], [(page, 1)], granted)
    asked, later = trial.random.sample((RO, RW), 2)
    if asked == RW and granted == RO:
        asked, later = RO, RW
    request = abi.Transaction(sender=a.id, handle=handle, receivers=[abi.Receiver(b.id, later)])
    b.change_tx(abi.build_transaction(request, b.version))
    got = passes(lambda: b.retrieve(handle, a, asked), "a retrieve request")
    assert got is not None
    at = got.constituents[0][0]
    writes = b.reaches(at, write=True)
    right(writes is (asked == RW), f"{b} has asked for {asked}, and writes: {writes}")


def offers(trial: Trial) -> None:
    """A transaction that changes sends the pages that were named, all of them."""
    a, b, _ = trial.world_of(("vm-sp", "sp-sp", "vm-vm"))
    named, other = a.page(), a.page()
    a.change_tx(a.transaction(LEND, [b], [(other, 1)]))
    passes(lambda: a.send(LEND, [b], [(named, 1)]), "lending a page")
    right(not a.reaches(named), f"{a} keeps the page that it has lent")
    right(a.reaches(other), f"{a} has lost a page that it has not lent")


def headers(trial: Trial) -> None:
    """A message that changes comes from whom it said it came."""
    a, b, c = trial.world_of(("sp-sp", "vm-vm"))
    payload = trial.random.randbytes(trial.random.randrange(1, 64))
    forged = messages.Message(c.id, b.id, trial.random.randbytes(len(payload)))
    a.change_tx(messages.build_message(forged, a.version))
    let_go(lambda: a.ffa.send2(b.id, payload))
    found = messages.parse_message(b.got(PAGE), b.version)
    right((found.sender, found.payload) == (a.id, payload), f"{b} gets a message of {found.sender}")


def exhaustion(trial: Trial) -> None:
    """What the SPMC has no memory for changes nothing at its sender."""
    random = trial.random
    a, b, _ = trial.world_of(("vm-sp",))
    first = a.page(1024)
    wanted = a.page()
    given = first + random.randrange(512) * PAGE
    lent = trial.chance(0.7)
    if lent:
        a.send(LEND, [b], [(given, 1)])
    pool = a.handle.endpoint.system.firmware.spmc.pool
    while pool.in_use < pool.pages:
        pool.alloc()
    if trial.chance(0.6):
        a.change_tx(a.transaction(LEND, [b], [(given, 1)]))
    before = _reached(a, [given, wanted])
    kind = random.choice((LEND, SHARE))
    refused(lambda: a.send(kind, [b], [(wanted, 1)]), "no memory is left", Status.NO_MEMORY)
    right(_reached(a, [given, wanted]) == before, f"{a} reaches other pages than before")
    refused(lambda: a.send(SHARE, [b], [(wanted, 1)], patch=_far), "a descriptor far away")


def _far(data: bytearray) -> None:
    data[48 + 4 : 48 + 8] = (0xFFFF_FFF0).to_bytes(4, "little")


def _reached(side: Side, pages: list[int]) -> list[bool]:
    return [side.reaches(page) for page in pages]
