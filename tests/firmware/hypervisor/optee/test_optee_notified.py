"""OP-TEE notifies VMs with one interrupt: each hears of its own values alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mediator_sides import Tee, World

from ffabric.abi.optee import smc
from ffabric.machine.gic import State

INTID = 219
VALID, PENDING = smc.ASYNC_NOTIF_VALID, smc.ASYNC_NOTIF_PENDING


class Notifier(Tee):
    """Has values for VMs."""

    def __init__(self):
        super().__init__()
        self.values = {1: set(), 2: set()}
        self.enabled = []
        self.gic = None

    async def on_call(self, x, vcpu):
        if x[0] == smc.ENABLE_ASYNC_NOTIF:
            self.enabled.append(x[7])
            return (smc.Return.OK, 0, 0, 0)
        if x[0] == smc.GET_ASYNC_NOTIF_VALUE:
            self.calls.append(x)
            values = self.values[x[7]]
            if not values:
                return (smc.Return.OK, 0, 0, 0)
            value = min(values)
            values.remove(value)
            return (smc.Return.OK, value, VALID | (PENDING if values else 0), 0)
        return await super().on_call(x, vcpu)

    def notify(self, vm, *values):
        """Have values for a VM, and raise the interrupt."""
        self.values[vm].update(values)
        self.gic.set_pending(INTID)


class Place(World):
    def __init__(self, ffabric, **given):
        super().__init__(ffabric, tee=Notifier(), notification_interrupt=INTID, **given)
        self.tee.gic = self.system.machine.gic
        for each in (self.alice, self.bob):
            self.gic(each).configure(INTID, enabled=True, edge=True)

    def gic(self, vm):
        return vm.handle.endpoint.partition.gic

    def heard(self, vm):
        """Whether the interrupt of a VM is pending; it is not any more."""
        gic = self.gic(vm)
        was = gic.state(INTID) is State.PENDING
        if was:
            gic.take(0, INTID)
            gic.deactivate(0, INTID)
        return was

    def fetched(self, vm):
        """The values that a VM gets until there is none."""
        values = []
        while True:
            _, value, flags, _ = vm.smc(smc.GET_ASYNC_NOTIF_VALUE)
            if not flags & VALID:
                return values
            values.append(value)
            if not flags & PENDING:
                return values


@pytest.fixture
def place(ffabric):
    return Place(ffabric)


def enable(*vms):
    for each in vms:
        assert each.smc(smc.ENABLE_ASYNC_NOTIF)[0] == smc.Return.OK


def test_vms_are_told_that_there_are_notifications(place):
    _, capabilities, most, parameters = place.alice.smc(smc.EXCHANGE_CAPABILITIES)
    assert smc.Capabilities(capabilities).ASYNC_NOTIF
    assert (most, parameters) == (0, 0)
    enable(place.alice)
    assert place.tee.enabled == [place.alice.id]


def test_a_vm_gets_its_interrupt_and_its_values(place):
    enable(place.alice, place.bob)
    place.tee.notify(place.alice.id, 0, 7, 63)
    place.system.run()
    assert place.heard(place.alice)
    assert place.fetched(place.alice) == [0, 7, 63]
    assert place.fetched(place.alice) == []


def test_nobody_learns_of_the_values_of_others(place):
    enable(place.alice, place.bob)
    place.tee.notify(place.alice.id, 7)
    place.system.run()
    assert not place.heard(place.bob)
    assert place.fetched(place.bob) == []
    assert place.heard(place.alice)


def test_who_has_not_enabled_them_gets_none(place):
    enable(place.bob)
    place.tee.notify(place.alice.id, 7)
    place.system.run()
    assert not place.heard(place.alice)
    assert place.fetched(place.alice) == []
    assert place.tee.values[place.alice.id] == {7}
    enable(place.alice)
    place.tee.notify(place.bob.id, 3)
    place.system.run()
    assert place.fetched(place.alice) == [7]
    assert place.fetched(place.bob) == [3]


def test_a_value_that_comes_twice_is_fetched_once(place):
    enable(place.alice)
    for _ in range(3):
        place.tee.notify(place.alice.id, 7)
        place.system.run()
    assert place.fetched(place.alice) == [7]


def test_values_come_while_a_call_is_inside_op_tee(place):
    alice = place.alice
    enable(alice)

    def serve(message):
        place.tee.notify(alice.id, 5)

    place.tee.serve = serve
    assert alice.call(alice.put()) == smc.Return.OK
    place.system.run()
    assert place.heard(alice)
    assert place.fetched(alice) == [5]


def test_a_vm_that_is_destroyed_has_no_values(place):
    enable(place.alice, place.bob)
    place.tee.notify(place.alice.id, 7)
    place.tee.notify(place.bob.id, 8)
    place.system.destroy_vm("alice")
    place.system.run()
    assert place.fetched(place.bob) == [8]
    assert set(place.hypervisor.mediator.clients) == {place.bob.id}


def test_op_tee_that_never_ends_with_values_holds_nobody_up(place):
    class Endless(set):
        def remove(self, value):
            pass

    enable(place.alice)
    place.tee.values[place.alice.id] = Endless({9})
    made = len(place.tee.calls)
    place.tee.notify(place.alice.id)
    place.system.run()
    assert len(place.tee.calls) - made == 64
    assert place.fetched(place.alice) == [9]


def test_a_storm_of_interrupts_is_one_collection(place):
    enable(place.alice)
    made = len(place.tee.calls)
    for _ in range(50):
        place.tee.gic.set_pending(INTID)
    place.system.run()
    assert len(place.tee.calls) - made == 1


@settings(max_examples=20)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2]), st.sets(st.integers(0, 63), max_size=3)), max_size=8
    ),
    st.sets(st.sampled_from([1, 2])),
)
def test_whatever_is_sent_is_fetched_by_whom_it_is_for(ffabric, sent, enabled):
    place = Place(ffabric)
    vms = {place.alice.id: place.alice, place.bob.id: place.bob}
    enable(*(vms[each] for each in enabled))
    expected = {1: set(), 2: set()}
    for number, values in sent:
        place.tee.notify(number, *values)
        expected[number] |= values
    place.system.run()
    for number in (1, 2):
        assert set(place.fetched(vms[number])) == (expected[number] if number in enabled else set())
