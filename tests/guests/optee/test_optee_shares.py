"""How much of OP-TEE's memory each VM has: equal parts, or shares that are not equal."""

import pytest
from optee_sides import LAB, Lab

from ffabric.abi.optee.tee import Origin, Result
from ffabric.abi.words import PAGE
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.session.optee import BlockingDriver
from ffabric.system.description.python import vm

ONE = Lab.memory
"""Bytes that an instance takes."""


class Small(OpTee):
    """So little memory that it is soon used up."""

    memory = 12 * ONE


class Place:
    def __init__(self, ffabric, *names, **given):
        self.core = Small(Lab, **given)
        self.session = ffabric.boot(sps=[self.core], vms=list(names))
        self.system = self.session.system

    def driver(self, name):
        driver = BlockingDriver(self.session.vm(name).ffa)
        driver.probe()
        return driver


def sessions(driver):
    """Sessions until there is no memory for another one."""
    opened: list[int] = []
    try:
        while len(opened) < 99:
            opened.append(driver.open_session(LAB))
    except TeeError as error:
        if (error.result, error.origin) != (Result.OUT_OF_MEMORY, Origin.TEE):
            raise
    return opened


def test_vms_have_equal_parts(ffabric):
    place = Place(ffabric, "alice", "bob", vms=2)
    for name in ("alice", "bob"):  # one has used up its part, and the other has its own
        assert len(sessions(place.driver(name))) == 5


def test_shares_need_not_be_equal(ffabric):
    place = Place(ffabric, "alice", "bob", "carol", vms=3, shares={1: 8 * ONE, 3: 2 * ONE})
    found = {name: len(sessions(place.driver(name))) for name in ("alice", "bob", "carol")}
    assert found == {"alice": 7, "bob": 1, "carol": 1}


def test_memory_comes_back_with_its_session(ffabric):
    driver = Place(ffabric, "alice", vms=1).driver("alice")
    opened = sessions(driver)
    driver.close_session(opened.pop())
    opened.append(driver.open_session(LAB))
    assert sessions(driver) == []


def test_shared_memory_takes_some_until_it_is_unregistered(ffabric):
    place = Place(ffabric, "alice", vms=1)
    driver = place.driver("alice")
    driver.open_session(LAB)
    (bank,) = place.core.banks.values()
    used, shm = bank.heap.used, driver.allocate(PAGE)
    driver.state.slots.clear()
    driver.open_session(LAB)  # its message is in memory that is new
    assert bank.heap.used > used + ONE
    driver.free(shm)


def test_any_number_of_vms_as_long_as_there_is_memory(ffabric):
    place = Place(ffabric, "vm1", vms=-1, shares=dict.fromkeys(range(1, 20)[:6], 2 * ONE))
    for number in range(2, 8):
        place.system.create_vm(vm(f"vm{number}"))
        place.session.run()
    assert set(place.core.banks) == {1, 2, 3, 4, 5, 6}  # there is none left for a seventh
    place.system.destroy_vm("vm2")
    place.session.run()
    assert set(place.core.banks) == {1, 3, 4, 5, 6}
    assert len(sessions(place.driver("vm3"))) == 1


def test_nobody_shares_out_more_than_there_is():
    with pytest.raises(ValueError, match="shares"):
        Small(Lab, vms=2, shares={1: 8 * ONE, 2: 5 * ONE})


def test_open_objects_take_what_their_data_takes(ffabric):
    pytest.importorskip("cryptography")
    from ffabric.guests.optee.heap import Heap
    from ffabric.guests.optee.storage.objects import Flags, Node, PersistentObject, Storage

    class User:
        @property
        def thread(self):
            raise NotImplementedError

    heap = Heap(100)
    storage = Storage(bytes(32), heap)
    node = Node((LAB, b"note"), b"x" * 60)
    handles = [PersistentObject(storage, User(), n, node, Flags.ACCESS_READ) for n in (1, 2)]
    assert heap.used == 60
    with pytest.raises(TeeError, match="OUT_OF_MEMORY"):
        PersistentObject(storage, User(), 3, Node((LAB, b"other"), b"x" * 60), Flags.ACCESS_READ)
    for each in handles:
        each.close()
        each.close()
    assert heap.used == 0
