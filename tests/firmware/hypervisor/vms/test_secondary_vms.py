"""What a secondary VM may ask of PSCI, how it waits, and what its primary hears of that."""

import pytest
from chain_sides import RESP, Link, boot, message

from ffabric.abi import hafnium, psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.psci import AffinityState, Return
from ffabric.abi.words import MASK32, pack_ids
from ffabric.guests.errors import FfaError
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import vm

SUPPORTED, EXTENDED = Return.SUCCESS, 2
NOT_SUPPORTED = Return.NOT_SUPPORTED.register64
NPI = hafnium.NOTIFICATION_PENDING_INTID
LEVEL_1 = 1


class Pair:
    """A primary VM and a secondary one of two vCPUs, both driven; the secondary has the PE."""

    def __init__(self, primary, **options):
        self.p = primary(vm("s", vcpus=2, **options), pes=2)
        self.session = self.p.session
        self.id, self.primary = self.p.resolve("s"), self.p.id_get()
        self.s = self.session.vm("s").ffa
        self.second = self.session.vm("s").vcpu(1)
        self.entry = self.session.system.endpoint("s").spec.entry
        self.lend()

    def lend(self, vcpu=0):
        """The primary gives the secondary cycles, which has not given them back yet."""
        with pytest.raises(Blocked):
            self.p.run("s", vcpu)

    def ask(self):
        """The primary sends the secondary a direct request."""
        with pytest.raises(Blocked):
            self.p.direct_request("s", 1)

    def leave(self, function, *arguments):
        """The secondary makes a call with which it gives the PE back: what the primary hears."""
        with pytest.raises(Blocked):
            self.s.call(function, *arguments)
        return self.heard()

    def heard(self):
        """What FFA_RUN, or the request, has returned to the primary."""
        return list(self.p.x)

    def answer(self):
        """The secondary answers the request."""
        return self.leave(fid.FFA_MSG_SEND_DIRECT_RESP_64, pack_ids(self.id, self.primary))


@pytest.fixture
def pair(primary):
    return Pair(primary)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (psci.CPU_ON_64, SUPPORTED),
        (psci.PSCI_VERSION, SUPPORTED),
        (psci.CPU_SUSPEND_64, EXTENDED),
        (psci.SYSTEM_OFF, NOT_SUPPORTED),
        (0x8400_0055, NOT_SUPPORTED),
    ],
)
def test_a_secondary_is_told_which_functions_of_psci_it_has(pair, asked, answer):
    assert pair.s.call(psci.PSCI_FEATURES, asked)[0] == answer


@pytest.mark.parametrize("function", [psci.MIGRATE_INFO_TYPE, psci.SYSTEM_RESET])
def test_what_is_not_for_secondaries_is_not_there(pair, function):
    assert pair.s.call(function)[0] == NOT_SUPPORTED
    assert pair.s.call(psci.PSCI_VERSION)[0] != NOT_SUPPORTED


def test_a_vcpu_is_turned_on_where_the_vm_can_execute(pair):
    for affinity, entry, answer in (
        (2, pair.entry, Return.INVALID_PARAMETERS),
        (0, pair.entry, Return.ALREADY_ON),
        (1, pair.entry + 2, Return.INVALID_ADDRESS),
        (1, 1 << 47, Return.INVALID_ADDRESS),
    ):
        assert pair.s.call(psci.CPU_ON_64, affinity, entry, 7)[0] == answer.register64
    with pair.session.refuses("run.target_off"):
        pair.leave(fid.FFA_YIELD)
        pair.p.run("s", 1)
    pair.lend()
    told = pair.leave(psci.CPU_ON_64, 1, pair.entry, 7)
    assert told[:2] == [fid.FFA_INTERRUPT, pack_ids(pair.id, 1)]
    pair.lend(1)


def test_a_vcpu_is_on_as_soon_as_it_has_run(pair):
    def affinity_info(*which):
        return pair.s.call(psci.AFFINITY_INFO_64, *which)[0]

    assert affinity_info(0, 0) == AffinityState.ON
    assert affinity_info(1, 0) == AffinityState.OFF
    assert affinity_info(2, 0) == Return.INVALID_PARAMETERS.register64
    assert affinity_info(1, LEVEL_1) == Return.INVALID_PARAMETERS.register64
    pair.leave(psci.CPU_ON_64, 1, pair.entry, 0)
    pair.lend()
    assert affinity_info(1, 0) == AffinityState.OFF
    pair.leave(fid.FFA_YIELD)
    pair.lend(1)
    with pytest.raises(Blocked):
        pair.second.call(fid.FFA_YIELD)
    pair.lend()
    assert affinity_info(1, 0) == AffinityState.ON


def test_a_vcpu_is_not_turned_off_before_it_has_answered(pair):
    pair.leave(fid.FFA_MSG_WAIT)
    pair.ask()
    assert pair.s.call(psci.CPU_OFF)[0] == Return.DENIED.register64
    assert pair.answer()[0] & MASK32 == fid.FFA_MSG_SEND_DIRECT_RESP_64
    pair.lend()
    assert pair.leave(psci.CPU_OFF)[0] == hafnium.HF_FFA_RUN_WAIT_FOR_INTERRUPT


def test_a_vcpu_of_the_primary_that_is_turned_on_again_knows_of_no_request(ffabric):
    vms = [vm("p", vcpus=2), vm("s", vcpus=2)]
    session = boot(ffabric, [], vms, primary_vm="p", pes=2)
    p, p1, s, s1 = (Link(session, *which) for which in (("p",), ("p", 1), ("s",), ("s", 1)))

    def turn_on(link, other):
        entry = session.system.endpoint(link.name).spec.entry
        link.call(psci.CPU_ON_64, session.system.machine.pes[1].mpidr, entry, 0)
        session.run()
        assert other.has_control

    turn_on(p, p1)
    p.leave(fid.FFA_RUN, s.word)
    s.leave(psci.CPU_ON_64, 1, session.system.endpoint("s").spec.entry, 0)
    p1.leave(fid.FFA_RUN, s1.word)
    s1.leave(fid.FFA_MSG_WAIT)
    p1.ask(s1, 1)
    s1.leave(fid.FFA_YIELD)
    p1.leave(psci.CPU_OFF)
    turn_on(p, p1)
    p1.leave(fid.FFA_RUN, s1.word)
    s1.leave(*message(s1, p, (7,), RESP))
    assert p1.x[0:4] == [fid.FFA_MSG_WAIT, 0, 0, 0]


def test_a_request_is_answered_and_not_waited_out(pair):
    pair.leave(fid.FFA_MSG_WAIT)
    pair.ask()
    with pair.session.refuses("runtime.transition"):
        pair.s.call(fid.FFA_MSG_WAIT)
    pair.answer()
    pair.lend()
    assert pair.leave(fid.FFA_MSG_WAIT)[0] == fid.FFA_MSG_WAIT


@pytest.fixture
def notified(primary):
    """A pair whose secondary has a notification pending that it has not been told of."""
    pair = Pair(primary, notification_support=True)
    pair.s.call(hafnium.HF_INTERRUPT_ENABLE, NPI, 1)
    pair.s.notification_bind("p", 1)
    pair.leave(fid.FFA_MSG_WAIT)
    pair.p.notification_set("s", 1)
    return pair


def test_no_wait_begins_while_an_interrupt_is_pending(notified):
    notified.lend()
    with pytest.raises(FfaError, match="INTERRUPTED"):
        notified.s.msg_wait()
    notified.s.idle()
    assert notified.s.call(hafnium.HF_INTERRUPT_GET)[0] == NPI
    assert notified.leave(fid.FFA_MSG_WAIT)[0] == fid.FFA_MSG_WAIT


def test_a_request_tells_of_notifications_as_ffa_run_does(notified):
    notified.ask()
    assert notified.s.call(hafnium.HF_INTERRUPT_GET)[0] == NPI
    notified.answer()
    notified.ask()
    assert notified.s.call(hafnium.HF_INTERRUPT_GET)[0] == hafnium.INVALID_INTID


def test_one_that_answers_with_an_interrupt_pending_waits_for_its_primary(notified):
    notified.ask()
    notified.answer()
    notified.lend()
    assert notified.s.call(hafnium.HF_INTERRUPT_GET)[0] == NPI


def test_a_secondary_notifies_its_primary(primary):
    pair = Pair(primary, notification_support=True)
    pair.leave(fid.FFA_YIELD)
    pair.p.notification_bind("s", 1)
    pair.lend()
    pair.s.notification_set("p", 1)
    pair.leave(fid.FFA_MSG_WAIT)
    assert pair.p.notification_get() == (0, 1, 0)
