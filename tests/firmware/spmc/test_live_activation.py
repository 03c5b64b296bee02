"""Live activation: the image of an SP is replaced, and everybody else finds it as it was."""

import struct
from pathlib import Path
from typing import Any

import pytest

from calls_and_answers import Account
from ffabric.abi import hafnium, lfa, psci
from ffabric.abi.ffa import framework
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.partition_info import LIVE_ACTIVATION
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_3
from ffabric.abi.lfa import Return
from ffabric.firmware.state.events import Activation
from ffabric.guests.errors import FfaError
from ffabric.guests.partition import Partition
from ffabric.lab.oracle.ledger import Ledger
from ffabric.session.ffa import Blocked
from ffabric.system.booting.activation import NotActivatable
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import sp, vm
from ffabric.system.description.toml.system import read_system
from ffabric.system.manifest.manifest import AbortAction, MemoryRegion
from ffabric.system.options.problems import SystemErrors

IMAGE = "962a7bf0-174d-471d-a686-c89e5c3e254e"
TX, RX, STATE = (MemoryRegion(name=name, pages=1, attributes=3) for name in ("tx", "rx", "state"))
MANIFEST: dict[str, Any] = {
    "ffa_version": V1_3,
    "lifecycle_support": True,
    "live_activation_support": True,
    "live_activation_register": 5,
    "image_uuid": IMAGE,
    "live_state_buffer": "state",
    "memory_regions": (TX, RX, STATE),
    "tx_buffer": "tx",
    "rx_buffer": "rx",
    "notification_support": True,
}


class Counter(Partition):
    """It counts requests, and a new one goes on counting."""

    step = 1

    def __init__(self):
        super().__init__("counter")
        self.count, self.heard = 0, []
        self.refuses, self.crashes = None, ""

    async def on_direct_request(self, request, ffa):
        self.count += self.step
        return request.respond(self.count, self.step)

    async def on_stop(self, ffa):
        if self.crashes == "stop":
            raise ValueError("stop")
        ffa.memory.write(ffa.live_state[0], self.count.to_bytes(8, "little"))
        return self.refuses

    async def on_activation(self, ffa):
        if self.crashes == "start":
            raise ValueError("start")
        self.count = int.from_bytes(ffa.memory.read(ffa.live_state[0], 8), "little")

    async def on_notifications(self, from_sps, from_vms, framework, ffa):
        self.heard.append(from_vms)


class By10(Counter):
    step = 10


class Heard(Account):
    """What the trace says of it."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def record(self, event):
        super().record(event)
        if isinstance(event, Activation):
            self.steps.append(event.step)


def booted(ffabric, software=None, *, host="kernel", pes=1, sps=(), **manifest):
    """A system with a counter; its host is a kernel, or a VM under the hypervisor."""
    software = software or Counter()
    system = ffabric.boot(
        sps=[sp(software, **{**MANIFEST, **manifest}), *sps],
        vms=[vm(host, vcpus=pes, ffa_version=V1_3, has_primary_scheduler=host != "kernel")],
        hypervisor=host != "kernel",
        pes=pes,
        stop_on_crash=False,
    )
    system.run()
    return system


def judged(system):
    """A ledger that follows all memory of the system from now on."""
    ledger = Ledger(system.system)
    system.system.attach(ledger)
    return ledger


@pytest.fixture(params=["kernel", "host"])
def host(request):
    return request.param


def ask(system, host):
    return system.vm(host).ffa.direct_request("counter").payload[:2]


def test_a_new_image_goes_on_with_the_state_of_the_old_one(ffabric, host):
    system = booted(ffabric, host=host)
    ledger = judged(system)
    assert [ask(system, host) for _ in range(2)] == [(1, 1), (2, 1)]
    system.stage("counter", By10())
    assert system.vm(host).ffa.activate(IMAGE) is Return.SUCCESS
    assert ask(system, host) == (12, 10)
    ledger.check()
    assert not system.crashes


def test_the_request_to_stop_is_hafniums(ffabric):
    """A direct request of 32 bits; it is answered with the response of either size."""
    heard = []

    class Hears(Counter):
        async def _on_framework_message(self, request, x, ffa):
            heard.append(tuple(x))
            return await super()._on_framework_message(request, x, ffa)

    system = booted(ffabric, Hears())
    system.stage("counter", By10())
    assert system.vm("kernel").ffa.activate(IMAGE) is Return.SUCCESS
    ids = 0x8000 << 16 | system.sp("counter").id
    assert heard == [(fid.FFA_MSG_SEND_DIRECT_REQ_32, ids, 0x8000_000A, 1, 0, 0, 0, 0)]


def test_the_trace_has_its_steps(ffabric):
    system = booted(ffabric)
    heard = Heard()
    system.system.attach(heard)
    system.stage("counter", By10)
    system.vm("kernel").ffa.activate(IMAGE)
    assert heard.steps == ["stopping", "stopped", "activated"]


def test_the_host_finds_what_can_be_replaced(ffabric, host):
    system = booted(ffabric, host=host)
    ffa = system.vm(host).ffa
    optional = lfa.Component.CAPABLE | lfa.Component.RENDEZVOUS_OPTIONAL
    assert [*ffa.activatable().values()] == [optional]
    system.stage("counter", By10())
    assert [*ffa.activatable().values()] == [optional | lfa.Component.PENDING]
    ffa.activate(IMAGE)
    assert [*ffa.activatable().values()] == [optional]
    (found,) = ffa.partition_info_regs(IMAGE)
    assert found.properties & LIVE_ACTIVATION
    assert ffa.call(lfa.LFA_VERSION)[0] == 0x10000
    assert ffa.call(lfa.LFA_FEATURES, lfa.LFA_CANCEL)[0] == 0
    assert Return.of(ffa.call(lfa.LFA_FEATURES, 1)[0]) is Return.NOT_SUPPORTED
    assert Return.of(ffa.call(lfa.LFA_GET_INFO, 1)[0]) is Return.INVALID_PARAMETERS
    assert Return.of(ffa.call(lfa.LFA_GET_INVENTORY, 1)[0]) is Return.INVALID_PARAMETERS


def test_other_vms_have_no_part_in_it(ffabric):
    system = ffabric.boot(sps=[sp(Counter(), **MANIFEST)], vms=["v"])
    ffa = system.vm("v").ffa
    assert ffa.activatable() == {}
    with pytest.raises(LookupError, match="can replace no image"):
        ffa.activate(IMAGE)


def test_without_such_sps_there_is_no_agent(ffabric):
    system = ffabric.boot(sps=["s"], vms=["k"], hypervisor=False)
    assert Return.of(system.vm("k").ffa.call(lfa.LFA_VERSION)[0]) is Return.NOT_SUPPORTED


def test_what_the_spmc_keeps_of_it_stays(ffabric):
    """RX/TX, what it has borrowed, what is bound, what is pending."""

    class Borrower(Counter):
        async def on_direct_request(self, request, ffa):
            if request.payload[1]:
                await ffa.retrieve(request.payload[0], request.sender)
            return await super().on_direct_request(request, ffa)

    old, new = Borrower(), Borrower()
    system = booted(ffabric, old, host="host")
    ledger = judged(system)
    host, partition = system.vm("host"), system.system.endpoint("counter").partition
    page = host.ram.allocate()
    handle = host.ffa.share("counter", ipa=page)
    host.ffa.direct_request("counter", handle, 1)
    kept = partition.mailbox, [*partition.stage2.runs(page, 1)]
    assert kept[0] is not None
    state = partition.notifications
    system.stage("counter", new)
    assert host.ffa.activate(IMAGE) is Return.SUCCESS
    assert (partition.mailbox, [*partition.stage2.runs(page, 1)]) == kept
    assert partition.notifications is state
    ledger.check()
    with pytest.raises(FfaError, match="DENIED"):
        host.ffa.reclaim(handle)


def test_a_new_image_may_map_other_buffers(ffabric):
    class Mapper(Counter):
        answer = 0

        async def on_activation(self, ffa):
            at = ffa.ram.allocate(2)
            x = await ffa.call(fid.FFA_RXTX_MAP_64, at + 1, at, 1)
            self.refused = x[0]
            x = await ffa.call(fid.FFA_RXTX_MAP_64, at, at + 0x1000, 1)
            self.answer = x[0]

    system, new = booted(ffabric), Mapper()
    ledger = judged(system)
    system.stage("counter", new)
    assert system.vm("kernel").ffa.activate(IMAGE) is Return.SUCCESS
    assert (new.refused, new.answer) == (fid.FFA_ERROR, fid.FFA_SUCCESS_32)
    ledger.check()
    assert ask(system, "kernel") == (1, 1)


def test_a_running_partition_still_maps_one_pair_only(ffabric):
    class Twice(Counter):
        async def on_direct_request(self, request, ffa):
            with pytest.raises(FfaError, match="DENIED"):
                await ffa.map_buffers()
            return request.respond(1)

    system = booted(ffabric, Twice())
    assert ask(system, "kernel")[0] == 1


def test_a_new_image_knows_nothing_of_what_the_old_one_had_asked(ffabric):
    """Who serves the old one's request goes on when the kernel lets it; nobody gets the answer."""
    old_one, other = 0x8001, 0x8002

    class Asks(Counter):
        async def on_direct_request(self, request, ffa):
            x = await ffa.call(fid.FFA_MSG_SEND_DIRECT_REQ_64, old_one << 16 | other)
            return request.respond(x[0])

    class Slow(Partition):
        async def on_direct_request(self, request, ffa):
            await ffa.yield_()
            return request.respond(7)

    class Goes(Counter):
        async def on_direct_request(self, request, ffa):
            return request.respond((await ffa.call(fid.FFA_RUN, other << 16))[0])

    system = booted(ffabric, Asks(), sps=[sp(Slow("slow"))])
    assert ask(system, "kernel")[0] == fid.FFA_YIELD
    assert outcome(system, Goes) == (Return.SUCCESS, True)
    assert ask(system, "kernel")[0] == fid.FFA_ERROR
    assert system.refusals == {"run.not_the_caller": 1}
    assert system.vm("kernel").ffa.call(fid.FFA_RUN, other << 16)[0] == fid.FFA_MSG_WAIT


# What can go wrong.


def outcome(system, new=By10):
    """Activate a new image: what EL3 says, and the counter's state then."""
    if new is not None:
        system.stage("counter", new())
    code = system.vm("kernel").ffa.activate(IMAGE)
    return code, system.system.endpoint("counter").partition.alive


def test_one_that_does_not_want_to_stop_goes_on(ffabric):
    old = Counter()
    old.refuses = Status.DENIED
    system = booted(ffabric, old)
    assert outcome(system) == (Return.COMPONENT_WRONG_STATE, True)
    assert ask(system, "kernel") == (1, 1)
    old.refuses = None
    assert system.vm("kernel").ffa.activate(IMAGE) is Return.SUCCESS
    assert ask(system, "kernel") == (11, 10)


@pytest.mark.parametrize("action", [None, *AbortAction])
def test_one_that_crashes_when_it_is_to_stop_is_dead(ffabric, action):
    old = Counter()
    old.crashes = "stop"
    given = {} if action is None else {"abort_action": action}
    system = booted(ffabric, old, **given)
    assert outcome(system) == (Return.CRITICAL_ERROR, False)
    assert [each.name for each in system.crashes] == ["counter"]
    with ffabric.refuses("direct.req.receiver_stopped"):
        ask(system, "kernel")


def test_a_new_image_that_crashes_is_dead(ffabric):
    class Broken(By10):
        def __init__(self):
            super().__init__()
            self.crashes = "start"

    system = booted(ffabric)
    assert outcome(system, Broken) == (Return.CRITICAL_ERROR, False)
    with ffabric.refuses("direct.req.receiver_stopped"):
        ask(system, "kernel")


class Elsewhere(Counter):
    """Its state is not where its manifest says."""

    async def _on_partition_stop(self, request, ffa):
        answer = await super()._on_partition_stop(request, ffa)
        answer[4] += 0x1000
        return answer


class Otherwise(Counter):
    """It answers with another framework message, and crashes when that is refused."""

    async def _on_partition_stop(self, request, ffa):
        return framework.build(
            fid.FFA_MSG_SEND_DIRECT_RESP_64,
            request.receiver,
            request.sender,
            framework.PSCI_RESPONSE,
            status=0,
        )


class Yielding(Counter):
    """It yields in place of an answer."""

    async def on_stop(self, ffa):
        await ffa.yield_()


class Sender(Counter):
    """It has shared a page of the memory that its image is copied to."""

    async def on_stop(self, ffa):
        await ffa.share("other", ipa=ffa.ram.allocate())


@pytest.mark.parametrize(
    ("old", "result"),
    [
        (Elsewhere, (Return.CRITICAL_ERROR, False)),
        (Otherwise, (Return.CRITICAL_ERROR, False)),
        (Yielding, (Return.CRITICAL_ERROR, False)),
        (Sender, (Return.CRITICAL_ERROR, False)),
    ],
)
def test_one_that_stops_otherwise_than_it_should(ffabric, old, result):
    system = booted(ffabric, old(), sps=["other"])
    ledger = judged(system)
    assert outcome(system) == result
    ledger.check()


def test_one_that_serves_somebody_is_busy(ffabric):
    class Slow(Counter):
        async def on_direct_request(self, request, ffa):
            await ffa.yield_()
            return request.respond(1)

    system = booted(ffabric, Slow())
    ffa = system.vm("kernel").ffa
    ids = ffa.id_get() << 16 | 0x8001
    x = ffa.call(fid.FFA_MSG_SEND_DIRECT_REQ_64, ids)
    assert x[0] == fid.FFA_YIELD
    assert outcome(system) == (Return.BUSY, True)
    assert system.refusals == {"activation.start.not_waiting": 1}
    ffa.call(fid.FFA_RUN, 0x8001_0000)
    assert ffa.activate(IMAGE) is Return.SUCCESS


def test_what_is_not_primed_is_not_activated(ffabric):
    system = booted(ffabric)
    ffa = system.vm("kernel").ffa

    def call(function, *words):
        return Return.of(ffa.call(function, *words)[0])

    assert call(lfa.LFA_PRIME, 0) is Return.WRONG_STATE
    system.stage("counter", By10())
    assert call(lfa.LFA_ACTIVATE, 0, 1) is Return.COMPONENT_WRONG_STATE
    assert call(lfa.LFA_CANCEL, 0) is Return.INVALID_PARAMETERS
    assert call(lfa.LFA_PRIME, 1) is Return.INVALID_PARAMETERS
    assert call(lfa.LFA_PRIME, 0) is Return.SUCCESS
    assert call(lfa.LFA_ACTIVATE, 1, 1) is Return.INVALID_PARAMETERS
    assert call(lfa.LFA_CANCEL, 0) is Return.SUCCESS
    assert call(lfa.LFA_ACTIVATE, 0, 1) is Return.COMPONENT_WRONG_STATE
    assert call(lfa.LFA_PRIME, 0) is Return.SUCCESS
    assert call(lfa.LFA_ACTIVATE, 0, 1) is Return.SUCCESS


def test_its_interrupts_wait_until_it_is_there(ffabric):
    """The PE takes none while it stops and starts."""

    class Interrupting(By10):
        async def on_activation(self, ffa):
            system.system.machine.gic.set_pending(system.system.firmware.spmc.sri, 0)
            await ffa.id_get()
            await super().on_activation(ffa)

    system = booted(ffabric)
    assert outcome(system, Interrupting) == (Return.SUCCESS, True)


# Rendezvous.


def test_a_new_image_has_its_timers_off_and_its_interrupts_as_they_were(ffabric):
    class Timed(Counter):
        def __init__(self):
            super().__init__()
            self.ticks = 0

        async def on_boot(self, ffa):
            await self.enable_interrupt(ffa, hafnium.VIRTUAL_TIMER_INTID)

        async def on_direct_request(self, request, ffa):
            ffa.vcpu.msr("CNTP_TVAL_EL0", 100_000)
            ffa.vcpu.msr("CNTP_CTL_EL0", 1)
            return await super().on_direct_request(request, ffa)

        async def on_device_interrupt(self, intid, ffa):
            self.ticks += 1
            ffa.vcpu.msr("CNTP_CTL_EL0", 0)

    old, new = Timed(), Timed()
    system = booted(ffabric, old)
    ask(system, "kernel")
    system.stage("counter", new)
    assert system.vm("kernel").ffa.activate(IMAGE) is Return.SUCCESS
    system.system.machine.clock.advance(5_000_000)
    system.run()
    assert (old.ticks, new.ticks) == (0, 0)
    assert ask(system, "kernel") == (2, 1)
    system.run()
    assert (old.ticks, new.ticks) == (0, 1)


def test_all_pes_meet_at_el3(ffabric):
    system = booted(ffabric, pes=3)
    kernel, pes = system.vm("kernel"), system.system.machine.pes
    for pe in pes[1:]:
        kernel.ffa.call(psci.CPU_ON_64, pe.mpidr, 0x8000_0000, 0)
    system.stage("counter", By10())
    first, second, third = (kernel.vcpu(n) for n in range(3))
    assert Return.of(first.call(lfa.LFA_PRIME, 0)[0]) is Return.SUCCESS
    for each in (first, second):
        with pytest.raises(Blocked):
            each.call(lfa.LFA_ACTIVATE, 0, 0)
    assert Return.of(third.call(lfa.LFA_PRIME, 0)[0]) is Return.BUSY
    assert Return.of(third.call(lfa.LFA_ACTIVATE, 0, 1)[0]) is Return.BUSY
    system.system.machine.gic.set_pending(8, 0)  # masked at EL3
    system.run()
    assert Return.of(third.call(lfa.LFA_ACTIVATE, 0, 0)[0]) is Return.SUCCESS
    assert [Return.of(each.x[0]) for each in (first, second)] == [Return.SUCCESS] * 2
    assert first.direct_request("counter").payload[:2] == (10, 10)
    assert second.id_get() == 0


def test_a_pe_that_goes_off_is_not_waited_for(ffabric):
    system = booted(ffabric, pes=2)
    kernel, pes = system.vm("kernel"), system.system.machine.pes
    kernel.ffa.call(psci.CPU_ON_64, pes[1].mpidr, 0x8000_0000, 0)
    system.stage("counter", By10())
    first, second = (kernel.vcpu(n) for n in range(2))
    first.call(lfa.LFA_PRIME, 0)
    with pytest.raises(Blocked):
        first.call(lfa.LFA_ACTIVATE, 0, 0)
    with pytest.raises(Blocked):
        second.call(psci.CPU_OFF)
    assert Return.of(first.x[0]) is Return.SUCCESS
    assert first.direct_request("counter").payload[:2] == (10, 10)


def test_whoever_waits_hears_that_it_was_cancelled(ffabric):
    system = booted(ffabric, pes=2)
    kernel, pes = system.vm("kernel"), system.system.machine.pes
    kernel.ffa.call(psci.CPU_ON_64, pes[1].mpidr, 0x8000_0000, 0)
    system.stage("counter", By10())
    first, second = (kernel.vcpu(n) for n in range(2))
    first.call(lfa.LFA_PRIME, 0)
    with pytest.raises(Blocked):
        first.call(lfa.LFA_ACTIVATE, 0, 0)
    assert Return.of(second.call(lfa.LFA_CANCEL, 0)[0]) is Return.SUCCESS
    assert Return.of(first.x[0]) is Return.ACTIVATION_FAILED
    assert first.direct_request("counter").payload[:2] == (1, 1)


@pytest.mark.parametrize("pe", [None, 0, 1, "its own"])
def test_a_pe_does_not_wait_for_a_host_that_is_gone(ffabric, pe):
    hosted = vm("host", vcpus=2, ffa_version=V1_3, has_primary_scheduler=True)
    counter = sp(Counter(), **MANIFEST)
    system = ffabric.boot(sps=[counter], vms=[hosted, vm("v", vcpus=2)], pes=2, stop_on_crash=False)
    host, pes = system.vm("host"), system.system.machine.pes
    host.ffa.call(psci.CPU_ON_64, pes[1].mpidr, 0x4000_0000, 0)
    system.stage("counter", By10())
    host.ffa.call(lfa.LFA_PRIME, 0)
    with pytest.raises(Blocked):
        host.ffa.call(lfa.LFA_ACTIVATE, 0, 0)
    assert pes[0].current is None
    if pe == "its own":
        with pytest.raises(Blocked):
            host.vcpu(1).call(psci.SYSTEM_OFF)
    else:
        system.system.destroy_vm("host", pe=pe)
    system.run()
    assert "host" not in system.system.endpoints
    other = system.vm("v")
    assert other.ffa.direct_request("counter").payload[:2] == (1, 1)
    other.ffa.call(psci.CPU_ON_64, pes[1].mpidr, 0x4000_0000, 0)
    assert other.vcpu(1).id_get() == other.id


def test_a_newer_image_has_to_be_primed_again(ffabric):
    class By100(Counter):
        step = 100

    system = booted(ffabric)
    ffa = system.vm("kernel").ffa
    system.stage("counter", By10())
    ffa.call(lfa.LFA_PRIME, 0)
    system.stage("counter", By100())
    assert Return.of(ffa.call(lfa.LFA_ACTIVATE, 0, 1)[0]) is Return.COMPONENT_WRONG_STATE
    assert ffa.activate(IMAGE) is Return.SUCCESS
    assert ask(system, "kernel") == (100, 100)


@pytest.fixture
def gathering(ffabric):
    """A system of two PEs, one of which waits for the other to have its SP activated."""
    system = booted(ffabric, pes=2)
    kernel, pes = system.vm("kernel"), system.system.machine.pes
    kernel.ffa.call(psci.CPU_ON_64, pes[1].mpidr, 0x8000_0000, 0)
    system.stage("counter", By10())
    kernel.vcpu(0).call(lfa.LFA_PRIME, 0)
    with pytest.raises(Blocked):
        kernel.vcpu(0).call(lfa.LFA_ACTIVATE, 0, 0)
    return system


def test_no_image_takes_the_place_of_one_that_is_being_activated(gathering):
    with pytest.raises(NotActivatable, match="being activated"):
        gathering.stage("counter", By10())


def test_a_system_that_goes_off_activates_nothing(gathering):
    with pytest.raises(Blocked):
        gathering.vm("kernel").vcpu(1).call(psci.SYSTEM_OFF)
    gathering.run()
    assert gathering.system.firmware.spmc.activation is None
    assert gathering.system.endpoint("counter").staged is not None


# The SPMC's own rules, as a logical partition meets them.


def message(system, kind, **fields):
    """What the SPMC answers to a framework message of EL3."""
    spmc, monitor = system.system.firmware.spmc, system.system.firmware.monitor
    x = framework.build(
        fid.FFA_MSG_SEND_DIRECT_REQ_64, fields.pop("sender", 0xFFC0), spmc.spm_id, kind, **fields
    )
    pe = system.system.machine.pes[0]
    nxt = monitor.secure.activate(pe, x)
    gate = spmc.gates[0]
    return Status(framework.parse(gate.x)["status"] - (1 << 32)) if nxt is gate else nxt.name


START = {"partition": 0x8001, "address": 0x1000, "pages": 1}
BEGIN, FINISH = framework.LIVE_ACTIVATION_START, framework.LIVE_ACTIVATION_FINISH


@pytest.mark.parametrize(
    ("rule", "fields", "status"),
    [
        ("activation.partition", {"partition": 0x8009}, Status.INVALID_PARAMETERS),
        ("activation.support", {"partition": 0x8002}, Status.NOT_SUPPORTED),
        ("activation.start.image", {"address": 0}, Status.INVALID_PARAMETERS),
        ("activation.start.image", {"address": 0x1001}, Status.INVALID_PARAMETERS),
        ("activation.start.image", {"pages": 0}, Status.INVALID_PARAMETERS),
        ("activation.start.image", {"pages": 1 << 20}, Status.INVALID_PARAMETERS),
    ],
)
def test_a_start_that_is_refused(ffabric, rule, fields, status):
    system = booted(ffabric, sps=["other"])
    assert message(system, BEGIN, **{**START, **fields}) is status
    assert system.refusals == {rule: 1}


def test_one_at_a_time(ffabric):
    second = Counter()
    second.name = "second"
    other = sp(second, **{**MANIFEST, "image_uuid": IMAGE.replace("9", "8")})
    system = booted(ffabric, sps=[other])
    assert message(system, FINISH, partition=0x8001) is Status.DENIED
    assert message(system, BEGIN, **START) == "counter.0"
    assert message(system, BEGIN, **START) is Status.DENIED
    assert message(system, BEGIN, **{**START, "partition": 0x8002}) is Status.BUSY
    assert message(system, FINISH, partition=0x8001) is Status.DENIED
    assert message(system, FINISH, partition=0x8001, sender=0xFFC1) is Status.DENIED
    assert system.refusals == {
        "activation.start.repeated": 1,
        "activation.start.other": 1,
        "activation.finish.not_stopped": 3,
    }


def test_a_dead_partition_is_not_activated(ffabric):
    class Crashing(Counter):
        async def on_direct_request(self, request, ffa):
            raise ValueError

    system = booted(ffabric, Crashing())
    with pytest.raises(FfaError):
        ask(system, "kernel")
    assert message(system, BEGIN, **START) is Status.ABORTED
    assert system.refusals["activation.aborted"] == 1


# Descriptions.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lifecycle_support": False}, "needs lifecycle-support"),
        ({"image_uuid": None}, "needs image-uuid"),
        ({"live_state_buffer": None}, "needs live-state-buffer-info"),
        ({"live_activation_register": 4}, "the register is used for something else"),
        (
            {"memory_regions": (TX, RX, MemoryRegion(name="state", pages=1, attributes=1))},
            "is not Secure memory that is read and written",
        ),
    ],
)
def test_a_manifest_that_cannot_be(ffabric, fields, message):
    with pytest.raises(SystemErrors, match=message):
        ffabric.boot(sps=[sp("s", **{**MANIFEST, **fields})])


def test_an_sp_that_cannot_get_a_new_image(ffabric):
    system = booted(ffabric, sps=["other"])
    with pytest.raises(NotActivatable, match="does not support live activation"):
        system.stage("other", By10())
    with pytest.raises(NotActivatable, match="is an image and stays one, or is Python"):
        system.stage("counter", sp("x", image=b"\0" * 64))
    with pytest.raises(LookupError):
        system.stage("nobody", By10())


# Images.

SUCCESSOR = (Path(__file__).parents[2] / "images" / "successor.bin").read_bytes()
AT = 0x0640_0000


def image(step):
    """An image that counts in such steps, and has its state at ``AT``."""
    return SUCCESSOR[:-16] + struct.pack("<2Q", AT, step)


def image_manifest():
    """The manifest of such an image."""
    state = MemoryRegion(name="state", pages=1, base_address=AT, attributes=3)
    return {**MANIFEST, "memory_regions": (TX, RX, state), "gp_register_num": 0}


def test_images_are_replaced(ffabric, host):
    counter = sp("counter", image=image(1), boot_info=("ffa_manifest",), **image_manifest())
    system = ffabric.boot(
        sps=[counter],
        vms=[vm(host, ffa_version=V1_3, has_primary_scheduler=host != "kernel")],
        hypervisor=host != "kernel",
    )
    ledger = judged(system)
    assert [ask(system, host) for _ in range(2)] == [(1, 1), (2, 1)]
    for step, expected in ((5, 7), (2, 9)):
        system.stage("counter", sp("new", image=image(step)))
        assert system.vm(host).ffa.activate(IMAGE) is Return.SUCCESS
        assert ask(system, host) == (expected, step)
    ledger.check()


def test_an_image_that_has_no_room_is_not_staged(ffabric):
    counter = sp("counter", image=image(1), **image_manifest())
    system = ffabric.boot(sps=[counter], vms=["v"])
    with pytest.raises(NotActivatable, match="have room"):
        system.stage("counter", sp("new", image=bytes(3 << 20)))


def test_a_system_file_names_the_new_image(tmp_path):
    (tmp_path / "one.bin").write_bytes(image(1))
    (tmp_path / "two.bin").write_bytes(image(10))
    (tmp_path / "m.dts").write_text(
        f"""/dts-v1/;
        / {{
            compatible = "arm,ffa-manifest-1.0";
            ffa-version = <0x00010003>;
            uuid = <0x5a7c6d2e 0 0 1>;
            messaging-method = <3>;
            exception-level = <2>;
            execution-state = <0>;
            execution-ctx-count = <1>;
            lifecycle-support;
            live-activation-support;
            live-activation-register = <5>;
            image-uuid = <0x962a7bf0 0x174d471d 0xa686c89e 0x5c3e254e>;
            live-state-buffer-info {{
                compatible = "arm,ffa-manifest,live-state-buffer";
                live-state-buffer = <&state>;
            }};
            memory-regions {{
                compatible = "arm,ffa-manifest-memory-regions";
                state: state {{
                    base-address = <0 {AT:#x}>;
                    pages-count = <1>;
                    attributes = <3>;
                }};
            }};
        }};
        """
    )
    (tmp_path / "system.toml").write_text(
        """hypervisor = false
        [[sp]]
        name = "counter"
        image = "one.bin"
        manifest = "m.dts"
        image_offset = 0x4000
        new_image = "two.bin"
        [[vm]]
        name = "kernel"
        python = "kernel.py:Kernel"
        """
    )
    (tmp_path / "kernel.py").write_text(KERNEL)
    spec = read_system(tmp_path / "system.toml")
    assert not spec.warnings
    with boot(spec) as system:
        system.run()
        assert system.endpoints["kernel"].software.counts == [1, 11]


KERNEL = """
from ffabric import Partition

class Kernel(Partition):
    counts = ()

    async def main(self, ffa):
        before = await ffa.direct_request("counter")
        (uuid,) = await ffa.activatable()
        code = await ffa.activate(uuid)
        after = await ffa.direct_request("counter")
        assert code == 0
        self.counts = [each.payload[0] for each in (before, after)]
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('python = "kernel.py:Kernel"', "only with an image, or a package"),
        ('image = "one.bin"', "has no live-activation-support"),
    ],
)
def test_a_new_image_for_nobody(tmp_path, line, message):
    (tmp_path / "one.bin").write_bytes(image(1))
    (tmp_path / "kernel.py").write_text(KERNEL)
    (tmp_path / "system.toml").write_text(f'[[sp]]\nname = "s"\n{line}\nnew_image = "one.bin"\n')
    with pytest.raises(SystemErrors, match=message):
        read_system(tmp_path / "system.toml")
