import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications as abi
from ffabric.abi.ffa.notifications import PendingInfo, PendingList
from ffabric.abi.ffa.version import V1_0, V1_1
from ffabric.abi.words import halves, join
from ffabric.firmware.manager.notifications import calls as notifications
from ffabric.firmware.state.notifications import GLOBAL, NotificationState, Source

BIT = 1 << 12
HIGH = 1 << 40
ALL = 0b1111
DELAY, PER_VCPU = abi.DELAY_SCHEDULE_RECEIVER, abi.PER_VCPU
BIND, UNBIND = fid.FFA_NOTIFICATION_BIND, fid.FFA_NOTIFICATION_UNBIND
SET, GET = fid.FFA_NOTIFICATION_SET, fid.FFA_NOTIFICATION_GET
CREATE, DESTROY = fid.FFA_NOTIFICATION_BITMAP_CREATE, fid.FFA_NOTIFICATION_BITMAP_DESTROY
INFO_64, INFO_32 = fid.FFA_NOTIFICATION_INFO_GET_64, fid.FFA_NOTIFICATION_INFO_GET_32
VM = 3


def bind(sender, receiver, bits=BIT, flags=0):
    return BIND, sender << 16 | receiver, flags, *halves(bits)


def unbind(sender, receiver, bits=BIT, flags=0):
    return UNBIND, sender << 16 | receiver, flags, *halves(bits)


def set_(sender, receiver, bits=BIT, flags=0):
    return SET, sender << 16 | receiver, flags, *halves(bits)


def get(bench, who, flags=ALL, vcpu=0, receiver=None):
    """Bits from SPs, from VMs and from the framework."""
    receiver = who.id if receiver is None else receiver
    x = bench.ok(who, GET, vcpu << 16 | receiver, flags)
    assert x[0:2] == [fid.FFA_SUCCESS_32, 0]
    return tuple(join(*x[at : at + 2]) for at in (2, 4, 6))


def pending(bench, function=INFO_64):
    smc64 = function == INFO_64
    x = bench.ok(bench.gateway, function)
    assert x[0] == (fid.FFA_SUCCESS_64 if smc64 else fid.FFA_SUCCESS_32)
    return abi.parse_pending(x[2:8], smc64=smc64)


def nothing(bench):
    assert bench.refused(bench.gateway, INFO_64) == "notification.info_get.nothing"
    return True


@pytest.fixture
def bound(bench, sp, other):
    """`other` may set BIT and HIGH for all of `sp`."""
    bench.ok(sp, *bind(other.id, sp.id, BIT | HIGH))
    return sp, other


@pytest.fixture
def vm(bench):
    """The SPMC keeps notifications for VM 3, which has four vCPUs."""
    bench.ok(bench.gateway, CREATE, VM, 4)
    return VM


# Between SPs


def test_a_notification_is_set_got_once_and_signalled(bench, bound):
    sp, other = bound
    assert bench.ok(other, *set_(other.id, sp.id, HIGH))[1:8] == [0] * 7
    assert bench.signals == [(sp.id, None, False)]
    assert sp.signals
    assert get(bench, sp) == (HIGH, 0, 0)
    assert get(bench, sp) == (0, 0, 0)


def test_setting_twice_is_setting_once(bench, bound):
    sp, other = bound
    for _ in range(2):
        bench.ok(other, *set_(other.id, sp.id, flags=DELAY))
    assert bench.signals == [(sp.id, None, True)] * 2
    assert get(bench, sp) == (BIT, 0, 0)
    assert get(bench, sp) == (0, 0, 0)


def test_get_takes_what_is_asked_for(bench, bound):
    sp, other = bound
    bench.ok(other, *set_(other.id, sp.id))
    assert get(bench, sp, abi.GET_FROM_VM) == (0, 0, 0)
    assert get(bench, sp, 0) == (0, 0, 0)
    assert get(bench, sp, abi.GET_FROM_SP) == (BIT, 0, 0)


@pytest.mark.parametrize("flag", [abi.GET_FROM_SPM, abi.GET_FROM_HYPERVISOR])
def test_either_framework_flag_gets_all_of_the_framework(bench, sp, flag):
    for bit in (abi.RX_BUFFER_FULL_SPM, abi.RX_BUFFER_FULL_HYPERVISOR):
        notifications.signal_framework(bench, bench.pe, sp.notifications, bit, delayed=False)
    assert get(bench, sp, flag) == (0, 0, 1 << 32 | 1)


def test_any_vcpu_may_get_a_global_notification(bench, bound):
    sp, other = bound
    bench.ok(other, *set_(other.id, sp.id))
    assert get(bench, sp, vcpu=1) == (BIT, 0, 0)


def test_a_per_vcpu_notification_is_for_one_vcpu(bench, sp, other):
    bench.ok(sp, *bind(other.id, sp.id, flags=PER_VCPU))
    bench.ok(other, *set_(other.id, sp.id, flags=PER_VCPU | 1 << 16))
    assert bench.signals == [(sp.id, 1, False)]
    assert get(bench, sp, vcpu=0) == (0, 0, 0)
    assert get(bench, sp, vcpu=1) == (BIT, 0, 0)


def test_senders_of_both_worlds_have_bits_of_their_own(bench, bound, vm):
    sp, other = bound
    bench.ok(sp, *bind(vm, sp.id))
    bench.ok(bench.gateway, *set_(vm, sp.id))
    bench.ok(other, *set_(other.id, sp.id))
    assert get(bench, sp) == (BIT, BIT, 0)


def test_a_bit_may_be_bound_anew_to_its_sender_with_another_reach(bench, bound):
    sp, other = bound
    bench.ok(sp, *bind(other.id, sp.id, flags=PER_VCPU))
    bench.ok(other, *set_(other.id, sp.id, flags=PER_VCPU))
    assert bench.refused(other, *set_(other.id, sp.id)) == "notification.set.kind"


def test_an_unbound_bit_may_be_bound_to_another_sender(bench, bound):
    sp, other = bound
    third = bench.add(0x8003)
    bench.ok(sp, *unbind(other.id, sp.id))
    assert bench.refused(other, *set_(other.id, sp.id)) == "notification.set.not_bound"
    bench.ok(other, *set_(other.id, sp.id, HIGH))
    bench.ok(sp, *bind(third.id, sp.id))
    bench.ok(third, *set_(third.id, sp.id))


# For VMs, at the SPMC


def test_an_sp_notifies_a_vm(bench, sp, vm):
    bench.ok(bench.gateway, *bind(sp.id, vm))
    bench.ok(sp, *set_(sp.id, vm, flags=DELAY))
    assert bench.signals == [(vm, None, True)]
    assert pending(bench).lists == (PendingList(vm),)
    assert get(bench, bench.gateway, 0b101, receiver=vm) == (BIT, 0, 0)
    bench.ok(bench.gateway, *unbind(sp.id, vm))
    bench.ok(bench.gateway, DESTROY, vm)
    assert bench.refused(sp, *set_(sp.id, vm)) == "notification.set.receiver"


def test_the_os_kernel_is_vm_0(bench, sp):
    bench.ok(bench.gateway, CREATE, 0, 1)
    bench.ok(bench.gateway, *bind(sp.id, 0))
    bench.ok(sp, *set_(sp.id, 0))
    assert get(bench, bench.gateway, 0b101) == (BIT, 0, 0)


def test_who_has_no_bitmaps_has_nothing_pending(bench):
    assert get(bench, bench.gateway, 0b101) == (0, 0, 0)
    assert get(bench, bench.add(0x8005, notified=False)) == (0, 0, 0)


@pytest.mark.parametrize("number", [0x8001, 0xFFFF])
def test_bitmaps_are_for_vms(bench, number):
    assert bench.refused(bench.gateway, CREATE, number, 1) == "notification.bitmap.vm"
    assert bench.refused(bench.gateway, DESTROY, number) == "notification.bitmap.vm"


def test_bitmaps_are_created_once_with_vcpus(bench, vm):
    for count in (0, 0x1_0000):
        assert bench.refused(bench.gateway, CREATE, 4, count) == "notification.bitmap.vcpus"
    assert bench.refused(bench.gateway, CREATE, vm, 1) == "notification.bitmap.exists"


def test_bitmaps_are_destroyed_when_nothing_is_pending(bench, sp, vm):
    assert bench.refused(bench.gateway, DESTROY, 4) == "notification.bitmap.unknown"
    bench.ok(bench.gateway, *bind(sp.id, vm))
    bench.ok(sp, *set_(sp.id, vm))
    assert bench.refused(bench.gateway, DESTROY, vm) == "notification.bitmap.pending"
    get(bench, bench.gateway, 0b101, receiver=vm)
    bench.ok(bench.gateway, DESTROY, vm)


# Refused bindings


def test_a_receiver_binds_for_itself(bench, sp, other, vm):
    for call in (bind, unbind):
        rule = "notification.bind.receiver"
        assert bench.refused(sp, *call(other.id, 0xFFFF)) == rule
        assert bench.refused(sp, *call(other.id, vm)) == rule
        assert bench.refused(bench.gateway, *call(other.id, sp.id)) == rule


def test_a_sender_is_known_and_another_one(bench, sp, vm):
    rule = "notification.bind.sender"
    assert bench.refused(sp, *bind(0xFFFF, sp.id)) == rule
    assert bench.refused(bench.gateway, *bind(4, vm)) == rule
    for call in (bind, unbind):
        assert bench.refused(sp, *call(sp.id, sp.id)) == rule
        assert bench.refused(bench.gateway, *call(vm, vm)) == rule


def test_reserved_flags_are_refused(bench, bound):
    sp, other = bound
    for flags in (DELAY, 0x10, 1 << 16):
        call = bind(other.id, sp.id, flags=flags)
        assert bench.refused(sp, *call) == "notification.bind.flags_mbz"
    call = unbind(other.id, sp.id, flags=PER_VCPU)
    assert bench.refused(sp, *call) == "notification.unbind.mbz"


def test_no_bit_is_no_request(bench, bound):
    sp, other = bound
    for who, call in [(sp, bind), (sp, unbind), (other, set_)]:
        assert bench.refused(who, *call(other.id, sp.id, 0)) == "notification.no_bits"


def test_a_receiver_that_supports_no_notifications_cannot_bind(bench, other):
    deaf = bench.add(0x8005, notified=False)
    for call in (bind, unbind):
        assert bench.refused(deaf, *call(other.id, deaf.id)) == "notification.bind.disabled"
        assert bench.refused(bench.gateway, *call(other.id, 4)) == "notification.bind.disabled"


def test_a_bit_is_bound_to_one_sender(bench, bound):
    sp, other = bound
    third = bench.add(0x8003)
    assert bench.refused(sp, *bind(third.id, sp.id, HIGH | 1)) == "notification.bind.taken"
    bench.ok(sp, *bind(third.id, sp.id, 1))
    for bits in (1, BIT | 2):
        call = unbind(other.id, sp.id, bits)
        assert bench.refused(sp, *call) == "notification.unbind.not_bound"


def test_a_pending_bit_keeps_its_binding(bench, bound):
    sp, other = bound
    bench.ok(other, *set_(other.id, sp.id))
    for call in (bind, unbind):
        assert bench.refused(sp, *call(other.id, sp.id)) == "notification.bind.pending"
    bench.ok(sp, *unbind(other.id, sp.id, HIGH))


# Refused settings


def test_a_sender_sets_in_its_own_name(bench, bound):
    sp, other = bound
    for who, sender in [(sp, other.id), (bench.gateway, other.id), (other, 0xFFFF)]:
        assert bench.refused(who, *set_(sender, sp.id)) == "notification.set.sender"


def test_a_receiver_is_known_and_another_one(bench, bound, vm):
    rule = "notification.set.receiver"
    sp, _ = bound
    for receiver in (0xFFFF, sp.id, 4):
        assert bench.refused(sp, *set_(sp.id, receiver)) == rule
    assert bench.refused(bench.gateway, *set_(4, vm)) == rule


def test_only_bound_bits_may_be_set(bench, bound, vm):
    sp, other = bound
    rule = "notification.set.not_bound"
    assert bench.refused(other, *set_(other.id, sp.id, BIT | 1)) == rule
    assert bench.refused(bench.gateway, *set_(vm, sp.id)) == rule
    assert bench.signals == []
    assert get(bench, sp) == (0, 0, 0)


def test_a_receiver_that_supports_no_notifications_cannot_be_notified(bench, sp):
    deaf = bench.add(0x8005, notified=False)
    assert bench.refused(sp, *set_(sp.id, deaf.id)) == "notification.set.receiver_disabled"


def test_the_reach_is_that_of_the_binding(bench, bound):
    sp, other = bound
    bench.ok(sp, *bind(other.id, sp.id, 1, PER_VCPU))
    for bits, flags in [(1, 0), (BIT, PER_VCPU), (BIT | 1, 0), (BIT | 1, PER_VCPU)]:
        assert bench.refused(other, *set_(other.id, sp.id, bits, flags)) == "notification.set.kind"


def test_vcpus_of_the_flags(bench, bound):
    sp, other = bound
    call = set_(other.id, sp.id, flags=1 << 16)
    assert bench.refused(other, *call) == "notification.set.global_vcpu"
    bench.ok(sp, *bind(other.id, sp.id, 1, PER_VCPU))
    call = set_(other.id, sp.id, 1, PER_VCPU | 2 << 16)
    assert bench.refused(other, *call) == "notification.set.vcpu"


def test_flags_of_set(bench, bound, vm):
    sp, other = bound
    rule = "notification.set.flags_mbz"
    assert bench.refused(other, *set_(other.id, sp.id, flags=0b100)) == rule
    assert bench.refused(bench.gateway, *set_(vm, sp.id, flags=DELAY)) == rule


# Refused gets


def test_a_receiver_gets_its_own(bench, sp, other, vm):
    for who, receiver in [(sp, other.id), (sp, vm), (sp, 0xFFFF), (bench.gateway, sp.id)]:
        assert bench.refused(who, GET, receiver, ALL) == "notification.get.receiver"


def test_flags_of_get(bench, sp, vm):
    rule = "notification.get.flags_mbz"
    bench.ok(sp, GET, sp.id, 0x10)
    sp.allow(sp.calls, V1_1)
    assert bench.refused(sp, GET, sp.id, 0x10) == rule
    for flag in (abi.GET_FROM_VM, abi.GET_FROM_HYPERVISOR):
        assert bench.refused(bench.gateway, GET, vm, flag) == rule


def test_vcpus_of_get(bench, sp, vm):
    assert bench.refused(sp, GET, 2 << 16 | sp.id, ALL) == "notification.get.vcpu"
    assert bench.refused(bench.gateway, GET, 4 << 16 | vm, 1) == "notification.get.vcpu"
    get(bench, bench.gateway, 1, vcpu=3, receiver=vm)


# The scheduler's question


def test_info_get_tells_of_a_pending_bit_once(bench, bound):
    sp, other = bound
    bench.ok(other, *set_(other.id, sp.id))
    assert pending(bench) == PendingInfo((PendingList(sp.id),))
    assert nothing(bench)
    bench.ok(other, *set_(other.id, sp.id))
    assert nothing(bench)
    bench.ok(other, *set_(other.id, sp.id, HIGH))
    assert pending(bench) == PendingInfo((PendingList(sp.id),))
    assert get(bench, sp) == (BIT | HIGH, 0, 0)
    bench.ok(other, *set_(other.id, sp.id))
    assert pending(bench) == PendingInfo((PendingList(sp.id),))


def test_info_get_clears_nothing(bench, bound):
    sp, other = bound
    bench.ok(other, *set_(other.id, sp.id))
    pending(bench)
    assert get(bench, sp) == (BIT, 0, 0)
    assert nothing(bench)


def test_vcpus_come_three_to_a_list(bench):
    wide = bench.add(0x8004, contexts=8)
    one = bench.add(0x8005)
    bench.ok(wide, *bind(one.id, wide.id, 1, PER_VCPU))
    bench.ok(wide, *bind(one.id, wide.id, 2))
    for vcpu in (7, 1, 5, 0):
        bench.ok(one, *set_(one.id, wide.id, 1, PER_VCPU | vcpu << 16))
    bench.ok(one, *set_(one.id, wide.id, 2))
    assert pending(bench).lists == (
        PendingList(wide.id, (0, 1, 5)),
        PendingList(wide.id, (7,)),
    )
    assert nothing(bench)


@pytest.mark.parametrize(("function", "room"), [(INFO_32, 10), (INFO_64, 20)])
def test_what_does_not_fit_is_told_later(bench, sp, function, room):
    for vm in range(1, room + 2):
        bench.ok(bench.gateway, CREATE, vm, 1)
        bench.ok(bench.gateway, *bind(sp.id, vm))
        bench.ok(sp, *set_(sp.id, vm))
    info = pending(bench, function)
    assert info.more
    assert [each.endpoint for each in info.lists] == [*range(1, room + 1)]
    assert pending(bench, function) == PendingInfo((PendingList(room + 1),))


def test_a_list_is_not_torn(bench):
    wide, one = bench.add(0x8004, contexts=8), bench.add(0x8005)
    bench.ok(wide, *bind(one.id, wide.id, 1, PER_VCPU))
    for vcpu in range(8):
        bench.ok(one, *set_(one.id, wide.id, 1, PER_VCPU | vcpu << 16))
    first = pending(bench, INFO_32)
    assert [each.vcpus for each in first.lists] == [(0, 1, 2), (3, 4, 5)]
    assert first.more
    assert [each.vcpus for each in pending(bench, INFO_32).lists] == [(6, 7)]


def test_only_a_scheduler_asks(bench, sp):
    vm = bench.add(2, secure=False)
    for who in (sp, vm):
        assert bench.refused(who, INFO_64) == "notification.info_get.scheduler"
    vm.may_schedule = True
    assert bench.refused(vm, INFO_64) == "notification.info_get.nothing"


# The receiver's interrupt


def test_the_interrupt_is_raised_once_for_what_became_pending(bench, bound):
    sp, other = bound
    state = sp.notifications
    assert not state.take_signal(0)
    bench.ok(other, *set_(other.id, sp.id))
    assert state.take_signal(1)
    assert not state.take_signal(0)
    assert state.is_pending(0)
    bench.ok(other, *set_(other.id, sp.id))
    assert state.take_signal(0)


def test_no_interrupt_for_what_was_got_already(bench, bound):
    sp, other = bound
    bench.ok(other, *set_(other.id, sp.id))
    get(bench, sp)
    assert not sp.notifications.take_signal(0)


def test_a_per_vcpu_notification_interrupts_its_vcpu(bench, sp, other):
    bench.ok(sp, *bind(other.id, sp.id, flags=PER_VCPU))
    bench.ok(other, *set_(other.id, sp.id, flags=PER_VCPU | 1 << 16))
    assert not sp.notifications.take_signal(0)
    assert sp.notifications.take_signal(1)
    assert not sp.notifications.is_pending(0)


# What another manager keeps


@pytest.fixture
def hypervisor(bench):
    """A VM of this manager; what concerns the secure world is kept elsewhere."""
    bench.elsewhere = frozenset({0x8000, 0x8001})
    return bench.add(1, secure=False), bench.add(2, secure=False)


def test_calls_that_concern_sps_are_passed_on(bench, hypervisor):
    vm, _ = hypervisor
    vm.may_schedule = True
    calls = [
        bind(0x8001, 1),
        unbind(0x8001, 1),
        set_(1, 0x8001),
        (GET, 1, abi.GET_FROM_SP),
        (GET, 1, abi.GET_FROM_SPM),
        (INFO_64,),
    ]
    for call in calls:
        bench.ok(vm, *call)
        assert bench.forwarded[-1][: len(call)] == [*call]
    assert len(bench.forwarded) == len(calls)


def test_calls_between_vms_are_not(bench, hypervisor):
    one, two = hypervisor
    bench.ok(one, *bind(2, 1))
    bench.ok(two, *set_(2, 1))
    assert get(bench, one, abi.GET_FROM_VM | abi.GET_FROM_HYPERVISOR) == (0, BIT, 0)
    assert bench.forwarded == []
    call = set_(2, 1, flags=DELAY)
    assert bench.refused(two, *call) == "notification.set.flags_mbz"


def test_get_joins_both_managers(bench, hypervisor):
    one, two = hypervisor
    bench.ok(one, *bind(2, 1))
    bench.ok(two, *set_(2, 1))
    state, ctx = one.notifications, one.contexts[0]
    full = abi.RX_BUFFER_FULL_HYPERVISOR
    notifications.signal_framework(bench, bench.pe, state, full, delayed=False)
    notifications.finish_get(state, ctx, 0, ALL, from_sps=HIGH, framework=1)
    assert ctx.x[0:8] == [fid.FFA_SUCCESS_32, 0, *halves(HIGH), *halves(BIT), 1, 1]


def test_info_get_joins_both_managers(bench, hypervisor):
    one, two = hypervisor
    bench.ok(one, *bind(2, 1))
    bench.ok(two, *set_(2, 1))
    ctx = one.contexts[0]
    told = PendingInfo(tuple(PendingList(0x9000 + each, (0, 1, 2)) for each in range(4)))
    for more, lists in [(False, (*told.lists, PendingList(1))), (True, told.lists)]:
        ctx.x[0] = INFO_64
        elsewhere = PendingInfo(told.lists, more)
        notifications.finish_info_get(bench, ctx, elsewhere)
        assert abi.parse_pending(ctx.x[2:8], smc64=True) == PendingInfo(lists, more)


def test_what_does_not_fit_beside_the_other_managers_is_more(bench, hypervisor):
    one, two = hypervisor
    bench.ok(one, *bind(2, 1))
    bench.ok(two, *set_(2, 1))
    ctx = one.contexts[0]
    full = tuple(PendingList(0x9000 + each, (0, 1, 2)) for each in range(5))
    ctx.x[0] = INFO_64
    notifications.finish_info_get(bench, ctx, PendingInfo(full))
    assert abi.parse_pending(ctx.x[2:8], smc64=True) == PendingInfo(full, True)


def test_v1_0_has_no_notifications(bench, sp, other):
    sp.allow(sp.calls, V1_0)
    assert bench.refused(sp, *bind(other.id, sp.id)) == "abi.newer_than_negotiated"


# Nothing is lost, nothing comes twice

OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["set", "get", "info", "signal"]),
        st.integers(0, 3),
        st.integers(1, 0xF),
    ),
    max_size=30,
)


@given(OPERATIONS)
@settings(max_examples=60, deadline=None)
def test_every_bit_is_got_reported_and_signalled(operations):
    state = NotificationState(0x8001, 4)
    source: Source = state.from_sps
    source.bind(0x8002, 0xF, per_vcpu=True)
    source.bind(0x8002, 0xF0, per_vcpu=False)
    model: dict[int, int] = {}
    untold: set[int] = set()
    for what, vcpu, bits in operations:
        if what == "set":
            key, word = (GLOBAL, bits << 4) if bits & 1 else (vcpu, bits)
            if word & ~model.get(key, 0):
                untold.add(key)
            model[key] = model.get(key, 0) | word
            source.add(key, word)
            state.unsignalled.add(key)
        elif what == "get":
            expected = model.pop(GLOBAL, 0) | model.pop(vcpu, 0)
            untold -= {GLOBAL, vcpu}
            assert source.take(vcpu) == expected
        elif what == "info":
            lists = [*state.unreported()]
            assert {at for each in lists for at in each.vcpus} == untold - {GLOBAL}
            assert bool(lists) == bool(untold)
            for each in lists:
                state.report(each)
            untold.clear()
        else:
            state.take_signal(vcpu)
            assert state.unsignalled.isdisjoint({GLOBAL, vcpu})
        assert state.is_pending(vcpu) == bool({GLOBAL, vcpu} & model.keys())
