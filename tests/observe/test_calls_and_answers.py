"""A call is answered once, by who made it, and what else stops a context is no answer."""

import io
import struct

import pytest

from calls_and_answers import Account, Wrong, keep
from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.optee import smc
from ffabric.firmware.state.events import Aborted, Enter, Hop, Preempt
from ffabric.guests.partition import Partition
from ffabric.guests.trusted_os import TrustedOs
from ffabric.lab.demo.campaign import play as play_demo
from ffabric.lab.fuzz.campaign import play as play_episode
from ffabric.machine import exits
from ffabric.machine.events import Abort, Call, Crash, Idle, Resume, Return, Slice, Start
from ffabric.machine.machine import OutOfExits
from ffabric.observe.decoding.text import Reader
from ffabric.observe.lines import read
from ffabric.observe.live import LiveTrace
from ffabric.session.ffa import Blocked
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, sp, trusted_os, vm
from ffabric.system.manifest.manifest import ExceptionLevel

IRQ = 8
VERSION, X = 0x8400_0063, 0x1_0001
CALL = [0x52B08000, 0x72800C60, 0x52A00021, 0x72800021, 0xD4000002]
"""FFA_VERSION 1.1: movz, movk w0; movz, movk w1; hvc #0."""
AGAIN, WFI = 0x1400_0000, 0xD503_207F
STRAY = [0xD2C02461, 0xF9400020]
"""movz x1, #0x123, lsl #32; ldr x0, [x1]."""


def code(*words):
    return struct.pack(f"<{len(words)}I", *words)


def run(exits=None, **described):
    """All that happens in a run: its events, of which account is kept."""
    seen = []
    with boot(describe(stop_on_crash=False, max_events=exits, **described)) as system:
        system.attach(LiveTrace(system, seen.append, None))
        try:
            system.run()
        except OutOfExits:
            assert exits is not None
    keep(seen)
    return seen


def of(events, name, *kinds):
    """The kinds of what happened to a partition, of ``kinds`` if there are any."""
    there = [type(each) for each in events if getattr(each, "endpoint", None) == name]
    return [each for each in there if not kinds or each in kinds]


# Whole systems.


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_every_call_of_the_demonstration_is_answered_once(seed):
    trace, _ = play_demo(seed)
    accounts = keep(map(read, trace.splitlines()))

    assert len(accounts) == 4
    kinds = sum((each.kinds for each in accounts), start=accounts[0].kinds - accounts[0].kinds)
    assert {Call, Return, Resume, Start, Idle, Hop} <= {*kinds}
    assert kinds[Return] <= kinds[Call]


@pytest.mark.parametrize("number", range(8))
def test_every_call_of_hostile_partitions_is_answered_once(number):
    sink = io.BytesIO()
    played = play_episode(f"5/{number}/400", sink)

    assert played.failure is None
    (account,) = keep(map(read, sink.getvalue().splitlines()))
    assert account.kinds[Return] > 100


class Asks(Partition):
    """A VM that keeps the answers to what it asks."""

    def __init__(self, whom):
        super().__init__()
        self.whom, self.answers = whom, []

    async def main(self, ffa):
        for function in (fid.FFA_ID_GET, fid.FFA_SPM_ID_GET, 0x8400_00FF, fid.FFA_YIELD):
            self.answers.append(await ffa.call(function))
        for n in range(3):
            ids = ffa.endpoint << 16 | ffa.resolve(self.whom)
            self.answers.append(await ffa.call(fid.FFA_MSG_SEND_DIRECT_REQ_64, ids, 0, n))


class Answers(Partition):
    async def on_direct_request(self, request, ffa):
        return request.respond(request.payload[0] + 1)


def test_an_answer_has_the_registers_that_the_caller_goes_on_with():
    asks = Asks("answers")
    events = run(sps=[Answers()], vms=[asks])
    recorded = [each.x for each in events if isinstance(each, Return) and each.endpoint == "asks"]

    assert recorded[-len(asks.answers) :] == asks.answers


# What stops a context is recorded as that.


def test_an_image_that_spins_after_a_call_has_one_answer():
    events = run(exits=30, vms=[vm("spins", image=code(*CALL, AGAIN))])

    assert of(events, "spins") == [Resume, Call, Return, *[Slice] * 29]
    text = [text for _, text in Reader().read(events)]
    assert sum("< FFA_VERSION returned: result=1." in each for each in text) == 1
    assert not [each for each in text if "unknown" in each or "slice" in each]


def test_images_that_share_a_pe_are_resumed_not_answered():
    spinning = [vm(name, image=code(*CALL, AGAIN), vcpus=1) for name in ("one", "two")]
    events = run(exits=30, vms=spinning, pes=1)

    for name in ("one", "two"):
        assert of(events, name, Call, Return) == [Call, Return]
        assert of(events, name, Resume, Slice).count(Resume) > 5


def test_an_abort_is_no_answer():
    events = run(exits=12, vms=[vm("stray", image=code(*CALL, *STRAY))])

    assert of(events, "stray", Call, Return, Abort)[:3] == [Call, Return, Abort]
    assert of(events, "stray").count(Return) == 1
    first = next(each for each in events if isinstance(each, Abort))
    assert (first.fault, first.ipa, first.va, first.write) == (
        "data",
        0x123 << 32,
        0x123 << 32,
        False,
    )


def test_an_abort_that_is_the_end_of_a_partition_is_no_answer():
    events = run(
        sps=[sp("stray", image=code(*STRAY), exception_level=ExceptionLevel.S_EL0)], vms=["vm"]
    )

    assert of(events, "stray") == [Resume, Abort]
    assert [each.partition for each in events if isinstance(each, Aborted)] == ["stray"]


def test_a_crash_is_no_answer():
    class Fails(Partition):
        async def main(self, ffa):
            raise KeyError("x")

    events = run(vms=[Fails()])

    assert of(events, "fails")[-1] is Crash
    assert "KeyError" in next(each.reason for each in events if isinstance(each, Crash))


def test_a_vcpu_that_idles_goes_on_without_an_answer(ffabric):
    class Idles(Partition):
        async def main(self, ffa):
            await ffa.idle()
            await ffa.call(fid.FFA_ID_GET)

    seen = []
    with boot(describe(vms=[Idles()])) as system:
        system.attach(LiveTrace(system, seen.append, None))
        system.run()
        assert of(seen, "idles")[-1] is Idle
        system.wake_vm("idles")
        system.run()
    keep(seen)
    kinds = of(seen, "idles")
    assert kinds[kinds.index(Idle) :] == [Idle, Resume, Call, Return, Idle]


def observed(session):
    """The events of a session from now on, of which account is kept."""
    seen = []
    session.system.attach(Account(LiveTrace(session.system, seen.append, None)))
    del seen[:]
    return seen


def test_a_kernel_that_suspends_its_pe_has_the_answer_when_it_wakes(ffabric):
    session = ffabric.boot(vms=["kernel"], hypervisor=False, pes=1)
    kernel = session.vm("kernel")
    seen = observed(session)
    with pytest.raises(Blocked):
        kernel.ffa.call(psci.CPU_SUSPEND_64)
    assert of(seen, "kernel") == [Call]

    session.system.machine.wake(session.system.machine.pes[0])
    assert of(seen, "kernel") == [Call, Return]


def test_a_pe_that_is_turned_on_again_answers_nothing(ffabric):
    session = ffabric.boot(vms=[vm("kernel", vcpus=2)], hypervisor=False, pes=2)
    seen = observed(session)
    affinity = session.system.machine.pes[1].mpidr
    first, second = session.vm("kernel").vcpu(0), session.vm("kernel").vcpu(1)
    assert first.call(psci.CPU_ON_64, affinity, 0x8000_0000, 0)[0] == 0
    with pytest.raises(Blocked):
        second.call(psci.CPU_OFF)
    assert first.call(psci.CPU_ON_64, affinity, 0x8000_0000, 0)[0] == 0

    begun = [type(each) for each in seen if getattr(each, "vcpu", 0) == 1]
    assert [each for each in begun if each in (Start, Resume, Call, Return)] == [
        Start, Resume, Call, Start, Resume,
    ]  # fmt: skip


def chain(ffabric):
    """A VM that has asked an SP; the SP has the PE."""
    session = ffabric.boot(sps=["sp"], vms=["vm"], pes=1)
    seen = observed(session)
    client, server = session.vm("vm"), session.sp("sp")
    with pytest.raises(Blocked):
        client.ffa.direct_request("sp", 5)
    return session, client, server, seen


def test_an_sp_that_is_preempted_goes_on_without_an_answer(ffabric):
    session, client, server, seen = chain(ffabric)
    gic = session.system.machine.gic
    gic.set_pending(session.system.firmware.spmc.sri, 0)
    with pytest.raises(Blocked):
        server.ffa.id_get()
    (preempted,) = [each for each in seen if isinstance(each, Preempt)]
    assert (preempted.endpoint, preempted.by) == ("sp", "")

    del seen[:]
    with pytest.raises(Blocked):
        client.ffa.run("sp")
    assert of(seen, "vm") == [Call]
    assert of(seen, "sp") == [Resume]


def test_a_context_that_waits_is_answered_when_its_scheduler_gives_it_the_pe(ffabric):
    session = ffabric.boot(sps=["sp"], vms=["vm"], pes=1)
    sp = session.sp("sp")
    sp.ffa.id_get()
    seen = observed(session)
    with pytest.raises(Blocked):
        sp.ffa.msg_wait()
    sp.ffa.id_get()

    answers = [each.x[:2] for each in seen if isinstance(each, Return) and each.endpoint == "sp"]
    assert answers[0] == (fid.FFA_RUN, sp.id << 16)
    assert of(seen, "sp", Call, Return) == [Call, Return] * 2


def test_an_answer_that_came_while_nobody_looked_is_in_the_trace(ffabric):
    _, client, server, seen = chain(ffabric)
    with pytest.raises(Blocked):
        server.ffa.call(fid.FFA_MSG_SEND_DIRECT_RESP_64, server.id << 16 | client.id, 0, 6)
    client.ffa.id_get()

    answers = [each.x for each in seen if isinstance(each, Return) and each.endpoint == "vm"]
    assert answers[0][3] == 6
    assert answers[1][2] == client.id


def test_the_dead_leave_an_error_and_no_second_answer(ffabric):
    session = ffabric.boot(sps=["sp"], vms=["vm", "other"], pes=1)
    seen = observed(session)
    client = session.vm("vm")
    with pytest.raises(Blocked):
        client.ffa.direct_request("sp", 5)
    session.system.destroy_vm("vm")
    session.system.run()

    assert of(seen, "vm", Call, Return) == [Call]


class Tee(TrustedOs):
    async def on_call(self, x, vcpu):
        return (smc.Return.OK, 1, 2, 3)


def test_a_trusted_os_is_entered_and_never_answered():
    spec = describe(vms=["kernel"], trusted_os=trusted_os(Tee()), hypervisor=False, pes=1)
    seen = []
    with boot(spec) as system:
        system.attach(LiveTrace(system, seen.append, None))
        system.run()
        runner = system.endpoint("kernel").take()
        for _ in range(2):
            runner.ctx.x[:] = [smc.CALLS_UID, *[0] * 17]
            assert runner.call(exits.SMC)
    keep(seen)
    (name,) = {each.endpoint for each in seen if isinstance(each, Enter)}
    assert of(seen, name) == [Resume, Call, *[Enter, Resume, Call] * 2]
    assert {each.vector for each in seen if isinstance(each, Enter)} == {"fast"}


def test_who_listens_in_the_middle_hears_no_answer_to_what_it_has_not_heard(ffabric):
    session, client, server, _ = chain(ffabric)
    seen = observed(session)
    with pytest.raises(Blocked):
        server.ffa.call(fid.FFA_MSG_SEND_DIRECT_RESP_64, server.id << 16 | client.id, 0, 6)

    assert of(seen, "vm") == [Resume]


# The account itself: a trace that breaks the rule, and its neighbour.

VM, SP = (0, "vm", 0), (0, "sp", 0)
REGISTERS = (0,) * 18
BEGIN = [Start(*VM, 0, 0), Resume(*VM)]
ASK = [Call(*VM, REGISTERS)]
ANSWER = [Return(*VM, REGISTERS)]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ([*BEGIN, *ASK, *ANSWER], [*BEGIN, *ANSWER]),
        ([*BEGIN, *ASK, *ANSWER], [*BEGIN, *ASK, *ANSWER, *ANSWER]),
        ([*BEGIN, Slice(*VM), *ASK], [*BEGIN, *ASK, Slice(*VM)]),
        ([*BEGIN, *ASK, Resume(*SP), *ANSWER], [*BEGIN, *ASK, Resume(*SP), Resume(*VM)]),
        ([*BEGIN, Preempt(*VM, ""), Resume(*VM)], [*BEGIN, Resume(*VM)]),
        ([*BEGIN, Idle(*VM), Resume(*VM), *ASK], [*BEGIN, Idle(*VM), *ASK]),
        ([*BEGIN, *ASK, *BEGIN], [*BEGIN, *ASK, *BEGIN, *ANSWER]),
        ([*BEGIN, *ASK, Return(*VM, REGISTERS)], [*BEGIN, *ASK, Return(*SP, REGISTERS)]),
        ([*BEGIN, *ASK, Resume(*SP), Slice(*SP)], [*BEGIN, *ASK, Slice(*SP)]),
    ],
)
def test_an_account_is_right_or_wrong(right, wrong):
    def kept(events):
        account = Account()
        for event in events:
            account.record(event)

    kept(right)
    with pytest.raises(Wrong):
        kept(wrong)
