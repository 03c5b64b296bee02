"""The ledger agrees with a firmware that is right, and with no other."""

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.words import PAGE
from ffabric.firmware.manager.manager import Manager
from ffabric.firmware.manager.memory import reclaim, retrieve, send
from ffabric.firmware.state import region
from ffabric.firmware.state.region import DONATE, LEND
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.oracle.ledger import Ledger
from ffabric.machine.events import Return
from ffabric.machine.translation.descriptors import S2AP_W, VALID, XN
from ffabric.session.system import System, refuses
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.manifest.manifest import ExceptionLevel

RW, NX, X = mem.PERM_DATA_RW, mem.PERM_INSTRUCTION_NX, mem.PERM_INSTRUCTION_X


class Watched:
    """A system under a ledger."""

    def __init__(self, *, initialising=(), **described):
        spec = describe(stop_on_crash=False, **described)
        self.system = boot(spec, seed=1)
        self.ledger = Ledger(self.system)
        self.system.attach(self.ledger)
        self.session = System(self.system)
        for name in initialising:
            self.system.endpoint(name).drive_from_start()
        self.system.run()

    def __getitem__(self, name):
        secure = self.system.endpoint(name).spec.secure
        return self.session.sp(name) if secure else self.session.vm(name)

    def page(self, name):
        return self[name].ram.allocate(1)


@pytest.fixture
def watched():
    made = []

    def make(**described):
        made.append(Watched(**{"sps": ["a", "b"], "vms": ["v", "w"], **described}))
        return made[-1]

    yield make
    for each in made:
        each.session.close()


PAIRS = [("a", "b"), ("v", "a"), ("v", "w")]


def cycle(system, owner, borrower, kind):
    """There and back."""
    one, two = system[owner].ffa, system[borrower].ffa
    handle = getattr(one, kind)(borrower, ipa=system.page(owner))
    two.retrieve(handle, owner, permissions=RW | (0 if kind == "share" else NX))
    if kind != "donate":
        two.relinquish(handle)
        one.reclaim(handle)
    return handle


@pytest.mark.parametrize(("owner", "borrower"), PAIRS)
@pytest.mark.parametrize("kind", ["share", "lend", "donate"])
def test_it_agrees_with_life_cycles(watched, owner, borrower, kind):
    system = watched()
    for _ in range(3):
        cycle(system, owner, borrower, kind)
    system.ledger.check()
    system.ledger.check_tables()
    system.ledger.check_settled()


def test_what_is_away_is_not_settled(watched):
    system = watched()
    system["a"].ffa.share("b", ipa=system.page("a"))
    with pytest.raises(Discrepancy, match="has not come back"):
        system.ledger.check_settled()


def test_it_follows_the_end_of_partitions(watched):
    system = watched()
    a, b, v = (system[name].ffa for name in "abv")
    lent = v.lend("a", ipa=system.page("v"))
    a.retrieve(lent, "v", permissions=RW | NX)
    kept = a.lend("b", ipa=system.page("a"))
    b.retrieve(kept, "a", permissions=RW | NX)
    with pytest.raises(Exception, match="has not returned"):
        a.call(fid.FFA_ERROR, 0, 1)
    v.reclaim(lent)
    b.relinquish(kept)
    system.ledger.check()
    system.ledger.check_settled()


def test_it_follows_vms_that_come_and_go(watched):
    system = watched()
    v, a = system["v"], system["a"].ffa
    kept = v.ffa.lend("a", ipa=v.ram.allocate(1))
    a.retrieve(kept, "v", permissions=RW | NX)
    for number in range(3):
        system.system.create_vm(vm(f"x{number}"))
        x = system[f"x{number}"]
        handle = x.ffa.share(["a", "w"], ipa=x.ram.allocate(2), pages=2)
        system["w"].ffa.retrieve(handle, x.id, others=[("a", RW)])
        system.system.destroy_vm(f"x{number}" if number else "v")
        system.ledger.check()
    a.relinquish(kept)
    system.ledger.check()
    system.ledger.check_tables()


def test_an_sp_may_retrieve_memory_of_a_dead_vm_again_until_it_is_reclaimed(watched):
    system = watched()
    v, a = system["v"], system["a"].ffa
    owner = v.id
    kept = v.ffa.share("a", ipa=v.ram.allocate(1))
    a.retrieve(kept, owner, permissions=RW)
    system.system.destroy_vm("v")
    system["w"].ffa.call(fid.FFA_ID_GET)
    assert "v" not in system.system.endpoints
    a.relinquish(kept)
    a.retrieve(kept, owner, permissions=RW)
    system.ledger.check()
    a.relinquish(kept)
    system.ledger.check()
    system.system.machine.clock.advance(1_000_000)
    system["w"].ffa.call(fid.FFA_ID_GET)
    with refuses("mem.handle"):
        a.retrieve(kept, owner, permissions=RW)
    system.ledger.check()


def test_nobody_retrieves_memory_of_a_dead_vm_that_is_anothers(watched):
    system = watched()
    v, a = system["v"], system["a"].ffa
    owner = v.id
    kept = v.ffa.share("a", ipa=v.ram.allocate(1))
    a.retrieve(kept, owner, permissions=RW)
    ((_, pa, pages, _),) = system.system.hypervisor.regions.live[kept].runs
    system.system.destroy_vm("v")
    system["w"].ffa.call(fid.FFA_ID_GET)
    assert "v" not in system.system.endpoints
    a.relinquish(kept)
    hypervisor = system.system.hypervisor
    hypervisor.frames.allocate(hypervisor.frames.free_pages)
    hypervisor.frames.release(pa, pages)
    system.system.create_vm(vm("x", mem_size=PAGE))
    with pytest.raises(Discrepancy, match="stands for nothing"):
        a.retrieve(kept, owner, permissions=RW)


def test_a_new_vm_with_memory_that_an_sp_has(watched):
    system = watched()
    v, a = system["v"], system["a"].ffa
    kept = v.ffa.lend("a", ipa=v.ram.allocate(1))
    a.retrieve(kept, "v", permissions=RW | NX)
    hypervisor = system.system.hypervisor
    ((_, pa, pages, _),) = hypervisor.regions.live[kept].runs
    system.system.destroy_vm("v")
    hypervisor.frames.allocate(hypervisor.frames.free_pages)
    hypervisor.frames.release(pa, pages)
    with pytest.raises(Discrepancy, match="a free frame"):
        system.ledger.check()
    system.system.create_vm(vm("x", mem_size=PAGE))
    with pytest.raises(Discrepancy, match="which is given or borrowed"):
        system.ledger.check()


def test_it_follows_fragments(watched):
    system = watched()
    a, b = system["a"].ffa, system["b"].ffa
    at = system["a"].ram.allocate(400)
    ranges = [(at + n * PAGE, 1) for n in (*range(0, 400, 2), *range(1, 400, 2))]
    for _ in range(2):
        handle = a.lend("b", ranges=ranges)
        b.retrieve(handle, "a", permissions=RW | NX)
        b.relinquish(handle)
        a.reclaim(handle)
    assert not system.ledger.accounts.unread
    system.ledger.check_settled()


def test_it_follows_a_call_whose_answer_is_on_the_way(monkeypatch, watched):
    system = watched()
    v, page = system["v"].ffa, system.page("v")
    v.map_buffers()
    hear = system.ledger.record
    monkeypatch.setattr(  # its PE is taken first
        system.ledger, "record", lambda event: isinstance(event, Return) or hear(event)
    )
    handle = v.lend("a", ipa=page)
    system.ledger.check()
    assert [*system.ledger.accounts.transactions] == [handle]


def test_it_follows_permissions(watched):
    el0 = sp("a", exception_level=ExceptionLevel.S_EL0)
    system = watched(sps=[el0, "b"], initialising=["a"])
    at = system.page("a")
    system["a"].ffa.mem_perm_set(at, 1, mem.MEM_PERM_RO)
    system.ledger.check()


# A firmware with a bug in it: every one is found with the call that shows it


def spoil(monkeypatch, owner, name, wrong):
    """Replace a function of the firmware by ``wrong(original)``."""
    monkeypatch.setattr(owner, name, wrong(getattr(owner, name)))


def found(system, kind="lend", owner="a", borrower="b"):
    """The discrepancy that a life cycle shows."""
    with pytest.raises(Discrepancy) as caught:
        cycle(system, owner, borrower, kind)
    return str(caught.value)


@pytest.mark.parametrize(("owner", "borrower"), PAIRS)
def test_a_lender_that_keeps_access(monkeypatch, watched, owner, borrower):
    monkeypatch.setattr(LEND, "owner_clear", 0)
    assert "history says 0x0" in found(watched(), "lend", owner, borrower)


@pytest.mark.parametrize(("owner", "borrower"), PAIRS)
def test_a_borrower_that_keeps_access(monkeypatch, watched, owner, borrower):
    monkeypatch.setattr(
        reclaim, "end_access", lambda pm, r, borrower, **_: setattr(borrower, "held", None)
    )
    assert "history says 0x0" in found(watched(), "share", owner, borrower)


def test_a_borrower_that_may_write(monkeypatch, watched):
    spoil(
        monkeypatch,
        retrieve,
        "_descriptor",
        lambda right: lambda *given, **how: right(*given, **how) | S2AP_W,
    )
    system = watched()
    handle = system["a"].ffa.share("b", ipa=system.page("a"), permissions=mem.PERM_DATA_RO)
    with pytest.raises(Discrepancy, match="the tables say"):
        system["b"].ffa.retrieve(handle, "a", permissions=mem.PERM_DATA_RO)


def test_a_borrower_that_may_execute(monkeypatch, watched):
    spoil(
        monkeypatch,
        retrieve,
        "_descriptor",
        lambda right: lambda *given, **how: right(*given, **how) & ~XN,
    )
    assert "the tables say" in found(watched(), "share")


def test_a_device_that_is_mapped_as_normal_memory(monkeypatch, watched):
    spoil(monkeypatch, retrieve, "_judge_attributes", lambda right: lambda *given: False)
    system = watched()
    handle = system["a"].ffa.share(
        "b",
        ipa=system.page("a"),
        attributes=mem.MEM_ATTR_TYPE_DEVICE | mem.MEM_ATTR_INNER_SHAREABLE,
    )
    with pytest.raises(Discrepancy, match="device memory"):
        system["b"].ffa.retrieve(handle, "a")


def test_more_rights_than_were_offered(monkeypatch, watched):
    spoil(
        monkeypatch,
        retrieve,
        "_permissions",
        lambda right: lambda pm, region, offered, asked: RW | X,
    )
    assert "execute" in found(watched(), "share")


def test_a_donor_that_keeps_its_page(monkeypatch, watched):
    monkeypatch.setattr(DONATE, "owner_clear", 0)
    monkeypatch.setattr(retrieve, "finish_donation", lambda pm, region: pm.regions.remove(region))
    assert "history says 0x0" in found(watched(), "donate")


def test_the_wrong_page(monkeypatch, watched):
    def wrong(right):
        def addresses(borrower, region):
            return [(ipa, pa + PAGE, n) for ipa, pa, n in right(borrower, region)]

        return addresses

    spoil(monkeypatch, retrieve, "_addresses_for", wrong)
    assert "the tables say" in found(watched(), "share", "v", "w")


def test_a_neighbour_that_is_given_as_well(monkeypatch, watched):
    def wrong(right):
        def place(me, region, descriptor):
            held, extents = right(me, region, descriptor)
            ipa, pa, n = held[0]
            me.stage2.map(ipa + n * PAGE, pa + n * PAGE, 1, descriptor)
            return held, extents

        return place

    spoil(monkeypatch, retrieve, "place", wrong)
    assert "history says 0x0" in found(watched(), "share", "v", "a")


def test_an_owner_that_does_not_get_it_back(monkeypatch, watched):
    monkeypatch.setattr(send, "restore", lambda pm, region: None)
    assert "the tables say 0x0" in found(watched(), "lend")


def test_a_page_that_is_given_twice(monkeypatch, watched):
    monkeypatch.setattr(region.SHARE, "owner_set", 0)
    system = watched()
    at = system.page("a")
    system["a"].ffa.share("b", ipa=at)
    with pytest.raises(Discrepancy, match="not its own"):
        system["a"].ffa.share("b", ipa=at)


def test_a_reclaim_too_early(monkeypatch, watched):
    monkeypatch.setattr(
        reclaim, "judge_reclaim", lambda pm, _, handle, flags: pm.regions.live[handle]
    )
    system = watched()
    handle = system["a"].ffa.share("b", ipa=system.page("a"))
    system["b"].ffa.retrieve(handle, "a")
    with pytest.raises(Discrepancy, match="have"):
        system["a"].ffa.reclaim(handle)


def test_memory_that_is_not_cleared(monkeypatch, watched):
    monkeypatch.setattr(Manager, "zero", lambda self, runs: None)
    system = watched()
    at = system.page("a")
    system["a"].memory.write(at, b"secret")
    with pytest.raises(Discrepancy, match="cleared"):
        system["a"].ffa.lend("b", ipa=at, flags=mem.FLAG_CLEAR)


def test_a_call_that_fails_and_changes_something(monkeypatch, watched):
    def wrong(right):
        def judge(*given):
            sender = given[1]
            sender.stage2.update(sender.mailbox.tx.ipa, 1, VALID, 0)
            return right(*given)

        return judge

    spoil(monkeypatch, send, "judge", wrong)
    system = watched()
    with pytest.raises(Discrepancy, match="the tables say 0x0"):
        system["a"].ffa.share("b", ipa=system.page("a") + 1)


def test_a_table_page_that_nobody_gives_back(watched):
    system = watched()
    system.ledger.check_tables()
    system.system.firmware.spmc.pool.alloc()
    with pytest.raises(Discrepancy, match="are taken for tables"):
        system.ledger.check_tables()


def test_an_edit_that_no_editor_made(watched):
    system = watched()
    a = system["a"]
    a.ffa.map_buffers()
    stage2 = a.endpoint.partition.stage2
    index = stage2._page_index(a.ffa.tx + 2 * PAGE)
    stage2._words[index] &= ~S2AP_W
    with pytest.raises(Discrepancy, match="the tables say"):
        system.ledger.check()
