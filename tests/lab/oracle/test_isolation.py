"""The judge of isolation finds what must not be in the tables, however it came there."""

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory_words as mem
from ffabric.firmware.state.ownership import BITS, BORROWED, LENT, MASK, OWNED, SHARED
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.oracle.isolation import Isolation, common, merged, without
from ffabric.lab.oracle.tables import Tables
from ffabric.machine.translation.descriptors import ADDRESS, S2AP_W, SW_NS, TABLE, VALID
from ffabric.session.booting import boot
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import vm

RWNX = mem.PERM_DATA_RW | mem.PERM_INSTRUCTION_NX
FAR = 0x5000_0000
"""An IPA at which nobody has anything."""


class Judged:
    """A system under the judge of isolation alone."""

    def __init__(self, **described):
        self.session = boot(**{"sps": ["a", "b"], "vms": ["v", "w"], **described})
        self.system = self.session.system
        self.tables = Tables(self.system)
        for endpoint in self.system.endpoints.values():
            self.tables.add(endpoint.partition)
        self.isolation = Isolation(self.system, self.tables)

    def __getitem__(self, name):
        secure = self.system.endpoint(name).spec.secure
        return self.session.sp(name) if secure else self.session.vm(name)

    def stage2(self, name):
        if name == "world":
            return self.system.firmware.spmc.normal_world.stage2
        return self.system.endpoint(name).partition.stage2

    def check(self):
        self.tables.look()
        self.isolation.check()

    def gone(self, partition):
        self.isolation.remove(self.tables.remove(partition))

    def page(self, name):
        """(IPA, descriptor) of a page of its own."""
        ipa = self[name].ram.allocate(1)
        return ipa, self.stage2(name).translate(ipa)

    def maps(self, name, descriptor, held=OWNED, ipa=FAR):
        """Let ``name`` have what ``descriptor`` says."""
        attributes = descriptor & ~ADDRESS & ~TABLE & ~MASK | BITS[held]
        self.stage2(name).map(ipa, descriptor & ADDRESS, 1, attributes)


@pytest.fixture
def judged():
    judge = Judged()
    yield judge
    judge.session.close()


def found(judged):
    with pytest.raises(Discrepancy) as caught:
        judged.check()
    return str(caught.value)


@pytest.mark.parametrize("kind", ["share", "lend", "donate"])
@pytest.mark.parametrize(("owner", "borrower"), [("a", "b"), ("v", "a"), ("v", "w")])
def test_life_cycles_keep_all_apart(judged, kind, owner, borrower):
    one, two = judged[owner].ffa, judged[borrower].ffa
    handle = getattr(one, kind)(borrower, ipa=judged[owner].ram.allocate(3), pages=3)
    judged.check()
    two.retrieve(handle, owner, permissions=RWNX if kind != "share" else mem.PERM_DATA_RW)
    judged.check()
    if kind != "donate":
        two.relinquish(handle)
        judged.check()
        one.reclaim(handle)
    judged.check()
    judged.isolation.check_tables()
    judged.isolation.check_lost()


def test_secure_memory_in_the_normal_world(judged):
    _, page = judged.page("a")
    judged.maps("v", page)
    assert found(judged) == f"v, a VM, reaches secure memory at {page & ADDRESS:#x}"


def test_an_address_space_that_is_not_the_memorys(judged):
    ipa, _ = judged.page("v")
    judged.stage2("v").update(ipa, 1, SW_NS, 0)
    assert "in the wrong address space" in found(judged)


@pytest.mark.parametrize("name", ["v", "a"])
def test_the_memory_of_a_partition_manager(judged, name):
    spec = judged.system.spec
    manager = spec.hypervisor if name == "v" else spec.spmc
    _, page = judged.page(name)
    judged.maps(name, manager.memory.base | page & ~ADDRESS)
    assert "which is a partition manager's" in found(judged)


def test_a_page_with_two_owners(judged):
    _, page = judged.page("v")
    judged.maps("w", page)
    assert "is the own of v and w" in found(judged)


def test_a_page_that_is_borrowed_from_nobody(judged):
    ipa, page = judged.page("v")
    judged.maps("w", page, BORROWED)
    judged.stage2("v").unmap(ipa, 1)
    assert "which nobody gives" in found(judged)


def test_a_borrower_of_what_its_owner_has_alone(judged):
    ipa, page = judged.page("v")
    judged.stage2("v").update(ipa, 1, MASK, BITS[SHARED])
    judged.maps("w", page, BORROWED)
    judged.check()
    judged.stage2("v").update(ipa, 1, MASK, BITS[OWNED])
    judged.stage2("world").update(page & ADDRESS, 1, MASK, BITS[SHARED])
    assert "which is v's alone" in found(judged)


def test_a_lender_that_keeps_access(judged):
    ipa, _ = judged.page("v")
    judged.stage2("v").update(ipa, 1, MASK | VALID, BITS[LENT])
    judged.check()
    judged.stage2("v").update(ipa, 1, 0, VALID)
    assert "which it has lent" in found(judged)


def test_a_borrower_that_writes_what_its_owner_reads(judged):
    ipa, page = judged.page("v")
    judged.stage2("v").update(ipa, 1, MASK | S2AP_W, BITS[SHARED])
    judged.maps("w", page & ~S2AP_W, BORROWED)
    judged.check()
    judged.maps("w", page, BORROWED)
    assert "which its owner only reads" in found(judged)


def test_an_sp_that_has_what_the_spmc_does_not_know_of(judged):
    ipa, page = judged.page("v")
    judged.stage2("v").update(ipa, 1, MASK, BITS[SHARED])
    judged.stage2("world").update(page & ADDRESS, 1, MASK, BITS[SHARED])
    judged.maps("a", page, BORROWED)
    judged.check()
    judged.stage2("world").update(page & ADDRESS, 1, MASK, BITS[OWNED])
    assert "which the normal world has for itself" in found(judged)


def test_a_free_frame_that_somebody_reaches(judged):
    _, page = judged.page("v")
    judged.check()
    judged.system.hypervisor.frames.release(page & ADDRESS, 1)
    assert found(judged) == f"v reaches {page & ADDRESS:#x}, a free frame"


def test_a_free_frame_that_comes_to_somebody(judged):
    ((pa, _),) = judged.system.hypervisor.frames.ranges[:1]
    _, page = judged.page("v")
    judged.maps("w", page & ~ADDRESS | pa)
    assert found(judged) == f"w reaches {pa:#x}, a free frame"


def test_a_free_frame_that_is_away(judged):
    ((pa, _),) = judged.system.hypervisor.frames.ranges[:1]
    judged.stage2("world").update(pa, 1, MASK, BITS[LENT])
    assert "is free, and away" in found(judged)


def test_a_context_on_two_pes():
    judged = Judged(pes=2, vms=[vm("v", vcpus=2)])
    pes = judged.system.machine.pes
    judged.check()
    pes[1].current = pes[0].current
    assert "runs on several PEs" in found(judged)
    judged.session.close()


def test_ids_of_two_endpoints(judged):
    judged["w"].endpoint.partition.id = judged["v"].id
    with pytest.raises(Discrepancy, match="has the id 0x1"):
        Isolation(judged.system, judged.tables)


def test_a_vm_with_the_id_of_the_secure_world(judged):
    judged["w"].endpoint.partition.id = 0x8005
    with pytest.raises(Discrepancy, match="w has the id 0x8005"):
        Isolation(judged.system, judged.tables)


def test_a_table_page_that_nobody_gives_back(judged):
    judged.isolation.check_tables()
    judged.system.firmware.spmc.pool.alloc()
    with pytest.raises(Discrepancy, match="are taken for tables"):
        judged.isolation.check_tables()


def test_a_table_in_the_memory_of_a_partition(judged):
    stage2 = judged.stage2("v")
    _, page = judged.page("v")
    root = stage2.vttbr & ADDRESS
    bank = stage2.pool.bank
    bank.words[(root - bank.base) // 8 + 900] = page & ADDRESS | VALID | TABLE
    judged.tables.look()
    with pytest.raises(Discrepancy, match="are tables and must not be"):
        judged.isolation.check_tables()


def test_frames_that_are_lost(judged):
    v = judged["v"]
    handle = v.ffa.lend("a", ipa=v.ram.allocate(1))
    judged["a"].ffa.retrieve(handle, "v", permissions=RWNX)
    with pytest.raises(Blocked):
        judged["a"].ffa.call(fid.FFA_MSG_WAIT)
    gone = v.endpoint.partition
    judged.system.destroy_vm("v")
    judged.gone(gone)
    judged.check()
    judged.isolation.check_lost()  # an SP has one page of it, the others are free
    judged.system.hypervisor.frames.allocate(2)
    with pytest.raises(Discrepancy, match="lost frames"):
        judged.isolation.check_lost()


def test_who_comes_is_judged(judged):
    vm_ = judged.system.create_vm(vm("x")).partition
    judged.isolation.add(vm_, judged.tables.add(vm_))
    judged.check()
    judged.gone(vm_)
    judged.system.destroy_vm("x")
    judged.check()


def test_who_comes_with_what_somebody_has(judged):
    _, page = judged.page("v")
    vm_ = judged.system.create_vm(vm("x")).partition
    judged.maps("x", page)
    judged.isolation.add(vm_, judged.tables.add(vm_))
    assert "is the own of v and x" in found(judged)


def test_ranges():
    assert merged([(5, 7), (0, 2), (2, 4), (6, 9)]) == [(0, 4), (5, 9)]
    assert without([(0, 10)], [(0, 1), (3, 4), (9, 12)]) == [(1, 3), (4, 9)]
    assert without([(0, 10)], [(-1, 20)]) == []
    assert common([(0, 10), (20, 30)], [(5, 25)]) == [(5, 10), (20, 25)]
