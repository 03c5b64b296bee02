"""A primary VM schedules the others with FFA_RUN, as Hafnium has it."""

from contextlib import suppress
from pathlib import Path

import pytest

from ffabric import NotificationFlags
from ffabric.abi import hafnium, psci
from ffabric.abi.ffa import features
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import pack_ids
from ffabric.guests.errors import FfaError
from ffabric.guests.partition import Partition
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp, vm
from ffabric.system.options.problems import SystemErrors

IMAGE = (Path(__file__).parents[3] / "images" / "secondary.bin").read_bytes()
NOTES = len(IMAGE) - 128
TICK = 16
EL2_TIMER, MINE = 26, 40


def started(answer):
    """The function that FFA_RUN returned with, and what w1 says."""
    return answer[0], answer[1]


class Idler(Partition):
    """A secondary VM that yields, sleeps in WFI, then serves."""

    def __init__(self, name="idler"):
        super().__init__(name)
        self.done = []

    async def main(self, ffa):
        self.done.append("begun")
        await ffa.yield_()
        self.done.append("yielded")
        await ffa.idle()
        self.done.append("slept")
        await super().main(ffa)

    async def on_direct_request(self, request, ffa):
        if request.payload[0] == 0:
            await ffa.yield_()
        if request.payload[0] == 1:
            await ffa.idle()
        return request.respond(request.payload[0] + 1)

    async def on_run(self, ffa):
        self.done.append("run")


class Boot(Partition):
    """A secondary VM that serves from the start."""

    def __init__(self, name="server", **manifest):
        super().__init__(name)
        self.manifest = manifest
        self.heard = []

    async def on_direct_request(self, request, ffa):
        return request.respond(request.payload[0] + 1)

    async def on_notifications(self, from_sps, from_vms, framework, ffa):
        self.heard.append((from_sps, from_vms, framework))


def turn_on(session, index):
    """Another vCPU of the primary, which has its own PE."""
    first = session.vm("p").vcpu(0)
    mpidr = session.system.machine.pes[index].mpidr
    entry = session.system.endpoint("p").spec.entry
    assert first.call(psci.CPU_ON_64, mpidr, entry, 0)[0] == psci.Return.SUCCESS
    return session.vm("p").vcpu(index)


def test_a_secondary_runs_only_when_the_primary_runs_it(primary):
    idler = Idler()
    p = primary(idler)
    word = pack_ids(p.resolve("idler"), 0)
    assert idler.done == []
    assert started(p.run("idler")) == (fid.FFA_YIELD, word)
    assert idler.done == ["begun"]
    assert started(p.run("idler")) == (hafnium.HF_FFA_RUN_WAIT_FOR_INTERRUPT, word)
    assert idler.done == ["begun", "yielded"]


def test_one_that_sleeps_is_not_run_before_an_interrupt_is_pending(primary):
    idler = Idler()
    p = primary(idler)
    p.run("idler")
    for _ in range(3):
        answer = p.run("idler")
        assert answer[0] == hafnium.HF_FFA_RUN_WAIT_FOR_INTERRUPT
        assert answer[2] == 0  # it has no timer
    assert idler.done == ["begun", "yielded"]


def test_one_that_waits_for_messages_says_so_and_is_woken_by_ffa_run(primary):
    server = Boot()
    p = primary(server)
    word = pack_ids(p.resolve("server"), 0)
    assert p.run("server")[:3] == (fid.FFA_MSG_WAIT, word, 0)
    assert p.run("server")[:3] == (fid.FFA_MSG_WAIT, word, 0)


def test_a_direct_request_lends_cycles_too(primary):
    p = primary(Boot())
    p.run("server")
    assert p.direct_request("server", 41).payload[0] == 42


@pytest.mark.parametrize(
    ("payload", "function"),
    [(0, fid.FFA_YIELD), (1, hafnium.HF_FFA_RUN_WAIT_FOR_INTERRUPT)],
)
def test_a_request_that_is_not_answered_yet_returns_as_ffa_run_does(primary, payload, function):
    class Server(Idler):
        async def main(self, ffa):
            await Partition.main(self, ffa)

    p = primary(Server("s"))
    p.run("s")
    ids = pack_ids(p.id_get(), p.resolve("s"))
    answer = p.call(fid.FFA_MSG_SEND_DIRECT_REQ_64, ids, 0, payload)
    assert started(answer) == (function, pack_ids(p.resolve("s"), 0))
    if function == fid.FFA_YIELD:
        answer = p.run("s")
        assert answer[0] == fid.FFA_MSG_SEND_DIRECT_RESP_64
        assert answer[3] == payload + 1


def test_any_vcpu_runs_on_any_pe_and_moves_between_calls(primary):
    p = primary(vm("s", image=IMAGE, vcpus=2), pes=2)
    other = turn_on(p.session, 1)
    s = p.resolve("s")
    # The first one begins on PE 1, and turns the second one on: that is what the primary hears.
    assert started(other.run(s, 0)) == (fid.FFA_INTERRUPT, pack_ids(s, 1))
    assert p.run(s, 1)[:3] == (fid.FFA_YIELD, pack_ids(s, 1), 5)
    assert p.run(s, 0)[:3] == (fid.FFA_YIELD, pack_ids(s, 0), 5)
    assert started(other.run(s, 1)) == (hafnium.HF_FFA_RUN_WAIT_FOR_INTERRUPT, pack_ids(s, 1))
    memory = p.session.vm("s").memory
    at = p.session.system.endpoint("s").spec.entry + NOTES
    size = p.session.system.endpoint("s").spec.memory[0].size
    # x0 and x4 (the PE that it began on), MPIDR
    assert [memory.read64(at + 8 * n) for n in range(3)] == [size, 1, 0x8000_0000]
    assert [memory.read64(at + 64 + 8 * n) for n in range(3)] == [0x77, 0, 0x8000_0001]


def test_a_timer_of_a_secondary_wakes_it_as_virtual_interrupt_3(ffabric):
    class Scheduler(Partition):
        def __init__(self):
            super().__init__("scheduler")
            self.seen, self.late = [], 0

        async def main(self, ffa):
            await self.enable_interrupt(ffa, EL2_TIMER)
            while True:
                answer = await ffa.run("s")
                self.seen.append(answer[0])
                if answer[0] == hafnium.HF_FFA_RUN_WAIT_FOR_INTERRUPT:
                    assert answer[2] > 0  # when its timer fires
                    await ffa.idle()
                elif answer[0] == fid.FFA_MSG_WAIT:
                    break
            self.sum = (await ffa.direct_request("s", 1)).payload[0]

        async def on_device_interrupt(self, intid, ffa):
            assert intid == EL2_TIMER
            self.late += 1

    scheduler = Scheduler()
    session = ffabric.boot(vms=[scheduler, vm("s", image=IMAGE)], primary_vm="scheduler")
    session.run()
    assert scheduler.seen == [
        fid.FFA_YIELD,
        hafnium.HF_FFA_RUN_WAIT_FOR_INTERRUPT,
        fid.FFA_MSG_WAIT,
    ]
    assert (scheduler.late, scheduler.sum) == (1, 2)
    memory = session.vm("s").memory
    at = session.system.endpoint("s").spec.entry + NOTES
    taken, last, yielded = (memory.read64(at + 8 * n) for n in (3, 4, 5))
    assert (taken, last, yielded) == (1, 3, fid.FFA_SUCCESS_32)


class Spinner(Partition):
    """A secondary VM, or an SP, that computes and makes calls that nobody hears of."""

    async def main(self, ffa):
        if ffa.vcpu.secure:
            await super().main(ffa)
        while True:
            await ffa.features(fid.FFA_RUN)

    async def on_direct_request(self, request, ffa):
        while True:
            await ffa.features(fid.FFA_RXTX_MAP_64)


class Ticking(Partition):
    """A primary VM whose timer interrupts what it has lent its PE to."""

    def __init__(self, what):
        super().__init__("ticking")
        self.what, self.seen, self.ticks = what, [], 0

    async def main(self, ffa):
        await self.enable_interrupt(ffa, 30)
        for _ in range(3):
            ffa.vcpu.msr("CNTP_TVAL_EL0", 1000)
            ffa.vcpu.msr("CNTP_CTL_EL0", 1)
            self.seen.append(await self.what(ffa))

    async def on_device_interrupt(self, intid, ffa):
        ffa.vcpu.msr("CNTP_CTL_EL0", 0)
        self.ticks += 1


def test_an_interrupt_of_the_primary_preempts_a_secondary(ffabric):
    ticking = Ticking(lambda ffa: ffa.run("spinner"))
    session = ffabric.boot(vms=[ticking, Spinner()], primary_vm="ticking")
    session.run()
    word = pack_ids(session.vm("spinner").id, 0)
    assert [started(each) for each in ticking.seen] == [(fid.FFA_INTERRUPT, word)] * 3
    assert ticking.ticks == 3


def test_an_interrupt_of_the_primary_preempts_an_sp(ffabric):
    async def ask(ffa):
        ids = pack_ids(ffa.vcpu.endpoint, ffa.resolve("spinner"))
        return await ffa.call(fid.FFA_MSG_SEND_DIRECT_REQ_64, ids)

    async def ask_once(ffa):
        if not ticking.seen:
            return await ask(ffa)
        return await ffa.run("spinner")

    ticking = Ticking(ask_once)
    session = ffabric.boot(sps=[Spinner()], vms=[ticking], primary_vm="ticking")
    session.run()
    assert [each[0] for each in ticking.seen] == [fid.FFA_INTERRUPT] * 3


def test_an_interrupt_that_is_pending_already_stops_the_secondary_at_once(ffabric):
    class Early(Ticking):
        async def main(self, ffa):
            await self.enable_interrupt(ffa, 30)
            ffa.vcpu.mask_interrupts()
            ffa.vcpu.msr("CNTP_TVAL_EL0", 0)
            ffa.vcpu.msr("CNTP_CTL_EL0", 1)
            self.seen.append(await ffa.run("server"))
            ffa.vcpu.msr("CNTP_CTL_EL0", 0)

    early, server = Early(None), Idler("server")
    session = ffabric.boot(vms=[early, server], primary_vm="ticking")
    session.run()
    assert early.seen[0][0] == fid.FFA_INTERRUPT
    assert server.done == []


def test_one_that_crashes_has_aborted_and_stays_so(ffabric, primary):
    class Crasher(Partition):
        async def main(self, ffa):
            raise RuntimeError("boom")

    p = primary(Crasher(), Boot(), stop_on_crash=False)
    crasher = p.resolve("crasher")
    for _ in range(2):
        with pytest.raises(FfaError, match="ABORTED"):
            p.run(crasher)
    assert p.run("server")[0] == fid.FFA_MSG_WAIT


def test_a_vcpu_that_turns_itself_off_says_so_and_is_not_run_again(primary):
    class Off(Partition):
        async def main(self, ffa):
            await ffa.call(psci.CPU_OFF)

    p = primary(Off())
    assert p.run("off")[0] == hafnium.HF_FFA_RUN_WAIT_FOR_INTERRUPT
    with p.session.refuses("run.target_off"):
        p.run("off")


def test_power_off_is_the_primarys(primary):
    class Asks(Partition):
        async def main(self, ffa):
            self.answer = (await ffa.call(psci.SYSTEM_OFF))[0]

    asks = Asks()
    p = primary(asks)
    p.run("asks")
    assert asks.answer == psci.Return.NOT_SUPPORTED.register64
    with pytest.raises(Blocked):
        p.call(psci.SYSTEM_OFF)
    assert p.session.system.firmware.monitor.power_state == "off"


@pytest.mark.parametrize("suspend", [psci.CPU_SUSPEND_32, psci.CPU_SUSPEND_64])
def test_cpu_suspend_of_any_state_is_a_wait_for_an_interrupt(primary, suspend):
    class Suspends(Partition):
        async def main(self, ffa):
            await ffa.call(suspend, 1 << 16)

    p = primary(Suspends())
    assert p.run("suspends")[0] == hafnium.HF_FFA_RUN_WAIT_FOR_INTERRUPT


def test_only_the_primary_lends_cycles(primary):
    class Wrong(Boot):
        async def on_direct_request(self, request, ffa):
            for call in (ffa.run, ffa.direct_request):
                try:
                    await call("server", 1)
                except FfaError as error:
                    broken.append(error.rule)
            return request.respond(1)

    broken: list[str] = []
    p = primary(Boot(), Wrong("wrong"))
    p.run("server")
    p.run("wrong")
    assert p.direct_request("wrong").payload[0] == 1
    assert broken == ["run.primary", "direct.req.primary"]


def test_the_primary_does_not_wait_for_messages(primary):
    p = primary(Boot())
    with pytest.raises(FfaError, match="NOT_SUPPORTED"):
        p.msg_wait()
    p.yield_()


def test_what_cannot_be_run_is_refused(primary):
    p = primary(vm(Boot(), vcpus=2), pes=2)
    for target, index, rule in (
        ("p", 0, "run.target"),
        ("server", 2, "run.target"),
        ("server", 1, "run.target_off"),
        (0x77, 0, "run.not_an_sp"),
    ):
        with p.session.refuses(rule):
            p.run(target, index)


def test_a_secondary_has_hafniums_interrupt_numbers_and_no_gic(primary):
    class Looks(Partition):
        async def main(self, ffa):
            self.npi, _ = await ffa.features(features.NPI)
            with pytest.raises(Exception, match="undefined"):
                ffa.vcpu.mrs("ICC_IAR1_EL1")
            self.nothing = (await ffa.call(hafnium.HF_INTERRUPT_GET))[0]

    looks = Looks()
    p = primary(looks)
    p.run("looks")
    assert looks.npi == hafnium.NOTIFICATION_PENDING_INTID
    assert looks.nothing == hafnium.INVALID_INTID


def test_a_notification_of_a_vm_makes_the_primary_schedule_its_receiver(ffabric):
    class Sender(Partition):
        """The primary: it notifies, hears the SRI, and runs whoever has notifications."""

        def __init__(self):
            super().__init__("sender")
            self.sri = self.lists = None

        async def main(self, ffa):
            self.sri, _ = await ffa.features(features.SRI)
            await self.enable_interrupt(ffa, self.sri)
            await ffa.run("server")
            await ffa.notification_set("server", 1 << 5)
            await ffa.idle()

        async def on_device_interrupt(self, intid, ffa):
            assert intid == self.sri
            self.lists = (await ffa.notification_info_get()).lists
            await ffa.run("server")

    class Receiver(Boot):
        async def on_boot(self, ffa):
            await self.enable_notifications(ffa)
            await ffa.notification_bind("sender", 1 << 5)

    sender, receiver = Sender(), Receiver(notification_support=True)
    session = ffabric.boot(
        vms=[vm(sender, notification_support=True), receiver], primary_vm="sender"
    )
    session.run()
    assert [each.endpoint for each in sender.lists] == [session.vm("server").id]
    assert receiver.heard == [(0, 1 << 5, 0)]


@pytest.mark.parametrize("per_vcpu", [False, True])
def test_a_notification_of_an_sp_makes_the_primary_schedule_its_receiver(ffabric, per_vcpu):
    """Of a global one FFA_NOTIFICATION_INFO_GET names no vCPU: the first hears of it."""

    class Scheduler(Partition):
        """The primary: it hears the SRI, and runs whoever has notifications."""

        manifest = {"notification_support": True}  # noqa: RUF012

        def __init__(self):
            super().__init__("scheduler")
            self.lists = []

        async def main(self, ffa):
            sri, _ = await ffa.features(features.SRI)
            await self.enable_interrupt(ffa, sri)
            await ffa.run("server")
            while True:
                await ffa.idle()

        async def on_device_interrupt(self, intid, ffa):
            self.lists += (await ffa.notification_info_get()).lists
            await ffa.run("server")

    class Receiver(Boot):
        async def on_boot(self, ffa):
            await self.enable_notifications(ffa)
            await ffa.notification_bind("s", 1 << 5, flags)

    flags = NotificationFlags.PER_VCPU if per_vcpu else 0
    scheduler, receiver = Scheduler(), Receiver(notification_support=True)
    session = ffabric.boot(
        sps=[sp("s", notification_support=True)],
        vms=[vm(scheduler), receiver],
        primary_vm="scheduler",
    )
    session.run()
    with suppress(Blocked):  # the SRI takes the PE from it
        session.sp("s").ffa.notification_set("server", 1 << 5, flags)
    session.run()
    server = session.vm("server").id
    assert [(each.endpoint, each.vcpus) for each in scheduler.lists] == [
        (server, (0,) if per_vcpu else ())
    ]
    assert receiver.heard == [(1 << 5, 0, 0)]


def test_a_notification_for_the_primary_is_its_own_and_nothing_to_schedule(ffabric):
    class Receiver(Partition):
        """The primary: it hears the NPI, and would hear the SRI."""

        manifest = {"notification_support": True}  # noqa: RUF012

        def __init__(self):
            super().__init__("receiver")
            self.interrupts, self.heard = [], []

        async def main(self, ffa):
            sri, _ = await ffa.features(features.SRI)
            await self.enable_interrupt(ffa, sri)
            await self.enable_notifications(ffa)
            await ffa.notification_bind("server", 1 << 5)
            await ffa.run("server")
            await ffa.idle()

        async def on_device_interrupt(self, intid, ffa):
            self.interrupts.append(intid)

        async def on_notifications(self, from_sps, from_vms, framework, ffa):
            self.heard.append(from_vms)

    class Sender(Boot):
        async def on_boot(self, ffa):
            await ffa.notification_set("receiver", 1 << 5)

    receiver = Receiver()
    session = ffabric.boot(
        vms=[vm(receiver), Sender(notification_support=True)], primary_vm="receiver"
    )
    session.run()
    assert receiver.heard == [1 << 5]
    assert receiver.interrupts == []


def test_a_message_that_came_before_the_wait_ends_it_at_once(primary):
    class Reader(Partition):
        manifest = {"messaging_method": 4}  # noqa: RUF012

        async def main(self, ffa):
            self.read = []
            await ffa.map_buffers()
            await ffa.yield_()
            answer = await ffa.msg_wait()
            self.read.append(answer[0])
            answer = await ffa.msg_wait()

    reader = Reader()
    p = primary(reader)
    p.run("reader")
    p.send2("reader", b"hello")
    assert p.run("reader")[0] == fid.FFA_MSG_WAIT
    assert reader.read == [fid.FFA_RUN]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"primary_vm": "q"}, "no VM is called 'q'"),
        ({"primary_vm": "p", "hypervisor": False}, "without a hypervisor"),
        ({"primary_vm": "s"}, "no VM is called 's'"),
    ],
)
def test_a_primary_vm_that_cannot_be_is_refused_by_name(ffabric, options, message):
    with pytest.raises(SystemErrors, match=message):
        ffabric.boot(vms=["p"], sps=[sp("s")], **options)


def test_the_primary_is_vm_1_with_a_vcpu_for_each_pe(ffabric):
    session = ffabric.boot(vms=["a", "b"], primary_vm="b", pes=4)
    assert session.vm("b").id == 1
    assert session.system.endpoint("b").spec.vcpus == 4


def test_a_partition_with_nobody_to_send_it_messages_takes_its_interrupts(ffabric):
    class Kernel(Partition):
        def __init__(self):
            super().__init__("kernel")
            self.taken = []

        async def on_boot(self, ffa):
            await self.enable_interrupt(ffa, MINE)

        async def on_device_interrupt(self, intid, ffa):
            self.taken.append(intid)

    for options in ({"hypervisor": False}, {"primary_vm": "kernel"}):
        kernel = Kernel()
        session = ffabric.boot(vms=[kernel], start=False, **options)
        session.run()
        if "hypervisor" in options:
            session.interrupt(MINE)
            session.run()
            assert kernel.taken == [MINE]


@pytest.mark.parametrize(
    ("engines", "message"),
    [
        ({"p": "qemu"}, "p: engine: 'qemu' does not run a primary VM: what ends"),
        ({"s": "qemu"}, "s: engine: 'qemu' does not run VMs that a primary VM schedules"),
    ],
)
def test_a_qemu_runs_neither_a_primary_vm_nor_those_that_it_schedules(ffabric, engines, message):
    image = Path(__file__).parents[3] / "images" / "secondary.bin"
    vms = [vm(name, image=image, engine=engines.get(name, "unicorn")) for name in "ps"]
    with pytest.raises(SystemErrors, match=message):
        ffabric.boot(vms=vms, primary_vm="p")
