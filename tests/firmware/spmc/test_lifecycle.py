"""FFA_ABORT, and what an SP's abort action makes of it: stopped, destroyed, started again."""

from pathlib import Path
from typing import Any

import pytest
from memory_sides import NX, RW, Side

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_3
from ffabric.firmware.state.events import Restarted
from ffabric.guests.errors import FfaError, status_of
from ffabric.guests.partition import Partition
from ffabric.lab.oracle.ledger import Ledger
from ffabric.lab.running import End, run_to_end
from ffabric.system.description.python import sp
from ffabric.system.manifest.manifest import (
    AbortAction,
    DeviceRegion,
    ExceptionLevel,
    Interrupt,
)

ABORT, FAULT, LEND, ECHO = range(4)
SERVANT = Path(__file__).parents[2] / "images" / "servant.bin"
STOP, DESTROY, RESTART, PROPAGATE = AbortAction
UUID = "5a7c6d2e-0000-4000-8000-0000000000aa"


class Fragile(Partition):
    """It does what it is asked to, until it aborts."""

    name = "fragile"
    uuid = UUID

    def __init__(self, *, boots=None):
        super().__init__()
        self.booted = 0
        self.interrupts = []
        self.bad_boots = boots or set()

    async def on_boot(self, ffa):
        self.booted += 1
        await ffa.map_buffers()
        if self.booted in self.bad_boots:
            await ffa.call(fid.FFA_ABORT_32)

    async def on_device_interrupt(self, intid, ffa):
        self.interrupts.append((self.booted, intid))

    async def on_direct_request(self, request, ffa):
        what, value, *_ = request.payload
        if what == ABORT:
            await ffa.call(fid.FFA_ABORT_64, 0, value)
        if what == FAULT:
            raise KeyError("fault")
        return request.respond(value + 1, self.booted)


def booted(ffabric, action=None, *, lifecycle=True, fragile=None, **options):
    fragile = fragile or Fragile()
    given: dict[str, Any] = {"lifecycle_support": lifecycle}
    if action is not None:
        given["abort_action"] = action
    fields = {"sps": [sp(fragile, ffa_version=V1_3, **given), "other"], "vms": ["v"], **options}
    return ffabric.boot(stop_on_crash=False, **fields), fragile


def ask(client, what, value=1):
    return client.ffa.direct_request("fragile", what, value).payload[:2]


def refusal(client, what=ECHO):
    with pytest.raises(FfaError) as error:
        ask(client, what)
    return error.value.status


@pytest.fixture(params=[ABORT, FAULT], ids=["FFA_ABORT", "fault"])
def how(request):
    return request.param


@pytest.fixture(params=["v", "other"])
def caller(request):
    def of(system):
        return system.vm("v") if request.param == "v" else system.sp("other")

    return of


def test_without_the_lifecycle_it_is_aborted(ffabric, how, caller):
    system, _ = booted(ffabric, lifecycle=False)
    client = caller(system)
    assert ask(client, ECHO) == (2, 1)
    assert refusal(client, how) is Status.ABORTED
    assert refusal(client) is Status.ABORTED
    assert [each.name for each in system.crashes] == ["fragile"]


@pytest.mark.parametrize("action", [None, STOP])
def test_one_that_is_stopped_is_busy(ffabric, how, caller, action):
    system, _ = booted(ffabric, action)
    client = caller(system)
    assert refusal(client, how) is Status.ABORTED
    with ffabric.refuses("direct.req.receiver_stopped"):
        ask(client, ECHO)
    assert refusal(client) is Status.BUSY
    if client is not system.sp("other"):
        with ffabric.refuses("run.target_stopped"):
            system.vm("v").ffa.run("fragile")
    assert system.crashes


@pytest.mark.parametrize("hypervisor", [True, False])
def test_one_that_is_destroyed_is_known_to_nobody(ffabric, how, hypervisor):
    def caller(system):
        return system.sp("other") if hypervisor else system.vm("v")

    system, _ = booted(ffabric, DESTROY, hypervisor=hypervisor)
    client = caller(system)
    assert 0x8001 in {each.id for each in client.ffa.partition_info_regs()}
    assert refusal(client, how) is Status.ABORTED
    assert 0x8001 not in {each.id for each in client.ffa.partition_info_regs()}
    x = client.ffa.call(fid.FFA_MSG_SEND_DIRECT_REQ_64, client.id << 16 | 0x8001)
    assert status_of(x[2]) is Status.INVALID_PARAMETERS


def test_one_that_is_started_again_serves_again(ffabric, how, caller):
    system, fragile = booted(ffabric, RESTART)
    client = caller(system)
    assert ask(client, ECHO) == (2, 1)
    for count in (2, 3):
        assert refusal(client, how) is Status.ABORTED
        assert ask(client, ECHO, 5) == (6, count)
    assert not system.crashes
    assert fragile.booted == 3


def test_it_has_its_memory_as_at_boot(ffabric):
    system, _ = booted(ffabric, RESTART)
    endpoint = system.sp("fragile").endpoint
    at = endpoint.ram.allocate(1)
    endpoint.memory.write(at, b"state")
    assert refusal(system.vm("v"), ABORT) is Status.ABORTED
    assert endpoint.memory.read(at, 5) == bytes(5)
    assert endpoint.partition.mailbox is not None


def test_what_it_lent_and_what_it_borrowed_goes_back(ffabric):
    class Giver(Fragile):
        async def on_direct_request(self, request, ffa):
            if request.payload[0] == LEND:
                self.handle = await ffa.share("other", ipa=ffa.ram.allocate(), pages=1)
                self.borrowed = await ffa.retrieve(request.payload[1], request.sender)
                return request.respond(self.handle)
            return await super().on_direct_request(request, ffa)

    giver = Giver()
    system, _ = booted(ffabric, RESTART, fragile=giver)
    v, other = Side(system.vm("v")), Side(system.sp("other"))
    lent = v.give("share", [system.sp("fragile")], [(v.pages(), 1)])
    handle, _ = ask(v.handle, LEND, lent)
    there = other.retrieve(handle, system.sp("fragile")).constituents[0][0]
    assert other.reaches(there)
    assert refusal(v.handle, ABORT) is Status.ABORTED
    assert not other.reaches(there)
    with ffabric.refuses("mem.handle"):
        other.relinquish(handle)
    v.reclaim(lent)
    assert ask(v.handle, ECHO) == (2, 2)


def test_without_all_its_memory_it_is_not_started_again(ffabric):
    class Donor(Fragile):
        async def on_boot(self, ffa):
            await super().on_boot(ffa)
            self.shared = await ffa.share("other", ipa=ffa.ram.allocate(), pages=1)
            self.handle = await ffa.donate("other", ipa=ffa.ram.allocate(), pages=1)

    donor = Donor()
    system, _ = booted(ffabric, RESTART, fragile=donor)
    other = Side(system.sp("other"))
    other.retrieve(donor.handle, system.sp("fragile"), rights=RW | NX)
    got = other.retrieve(donor.shared, system.sp("fragile"))
    assert refusal(system.vm("v"), ABORT) is Status.ABORTED
    assert refusal(system.vm("v")) is Status.BUSY
    (crash,) = system.crashes
    assert "a part of its memory is not its own" in crash.reason
    assert other.reaches(got.constituents[0][0], write=True)  # as what any dead SP has shared
    other.relinquish(donor.shared)


def test_one_that_another_one_asks_as_it_initialises_is_started_again(ffabric):
    class Asking(Partition):
        name = "asking"

        async def on_boot(self, ffa):
            with pytest.raises(FfaError) as error:
                await ffa.direct_request("fragile", ABORT, 0)
            answer = await ffa.direct_request("fragile", ECHO, 5)
            self.told = error.value.status, tuple(answer.payload[:2])

    given: dict[str, Any] = {"lifecycle_support": True, "abort_action": RESTART}
    first = sp(Fragile(), ffa_version=V1_3, boot_order=1, **given)
    asking = Asking()
    booted(ffabric, sps=[first, sp(asking, boot_order=2)])
    assert asking.told == (Status.ABORTED, (6, 2))


def test_one_that_aborts_while_it_initialises_is_not_started_again(ffabric):
    system, fragile = booted(ffabric, RESTART, fragile=Fragile(boots={2}))
    assert refusal(system.vm("v"), ABORT) is Status.ABORTED
    assert refusal(system.vm("v")) is Status.BUSY
    assert fragile.booted == 2
    assert len(system.crashes) == 1


def test_others_boot_though_one_aborts(ffabric):
    system, _ = booted(ffabric, RESTART, fragile=Fragile(boots={1}))
    assert refusal(system.vm("v")) is Status.BUSY
    assert system.sp("other").ffa.id_get() == 0x8002


def test_a_fatal_error_that_is_passed_on_ends_the_system(ffabric):
    system, _ = booted(ffabric, PROPAGATE)
    with pytest.raises(Exception, match="fragile"):
        ask(system.vm("v"), ABORT, 0x99)
    assert system.system.firmware.monitor.power_state == "panic: fragile called FFA_ABORT (0x99)"
    outcome = run_to_end(system.system)
    assert outcome.end is End.POWERED_OFF
    assert outcome.status == 3


def test_a_trace_and_the_ledger_know_that_it_begins_again(ffabric):
    system, _ = booted(ffabric, RESTART)
    heard = []

    class Tracer:
        def record(self, event):
            heard.append(event)

    ledger = Ledger(system.system, passing=Tracer())
    system.system.attach(ledger)
    assert refusal(system.vm("v"), ABORT) is Status.ABORTED
    assert ask(system.vm("v"), ECHO) == (2, 2)
    assert [each.partition for each in heard if isinstance(each, Restarted)] == ["fragile"]
    ledger.check()


def test_older_partitions_and_vms_have_no_such_call(ffabric):
    system = ffabric.boot(
        sps=[sp("old", ffa_version="1.2"), sp("new", ffa_version="1.3")], vms=["v"]
    )
    with ffabric.refuses("abi.newer_than_negotiated"):
        system.sp("old").ffa.call(fid.FFA_ABORT_64)
    with ffabric.refuses("abi.unknown_function"):
        system.vm("v").ffa.call(fid.FFA_ABORT_64)
    with ffabric.refuses("features.function"):
        system.vm("v").ffa.features(fid.FFA_ABORT_64)
    system.sp("new").ffa.features(fid.FFA_ABORT_64)


@pytest.mark.parametrize("register", [1, 3, 7])
def test_registers_that_are_reserved(ffabric, register):
    system = ffabric.boot(sps=[sp("new", ffa_version="1.3")])
    words = [0] * 7
    words[register - 1] = 1
    with ffabric.refuses("abi.reserved_registers_mbz"):
        system.sp("new").ffa.call(fid.FFA_ABORT_64, *words)


LOAD, STORE, CALL = 1, 2, 6
"""What a servant may be told (images/servant.S)."""


def test_an_image_is_loaded_anew(ffabric):
    image = sp(
        name="servant",
        image=SERVANT,
        mem_size=0x40_0000,
        ffa_version=V1_3,
        lifecycle_support=True,
        abort_action=RESTART,
    )
    system = ffabric.boot(sps=[image], vms=["v"])
    endpoint = system.sp("servant").endpoint
    client = system.vm("v").ffa
    at = endpoint.spec.load_address + 0x20_0000

    def tell(*words):
        return client.direct_request("servant", *words).payload[0]

    code = endpoint.memory.read(endpoint.spec.entry, 64)
    for value in (0x11, 0x22):
        tell(STORE, at, value)
        assert tell(LOAD, at) == value
        endpoint.memory.write(at + 0x100, fid.FFA_ERROR.to_bytes(8, "little") + bytes(17 * 8))
        endpoint.memory.write(endpoint.spec.entry + 0x3C, b"junk")
        with pytest.raises(FfaError) as error:
            tell(CALL, at + 0x100)
        assert error.value.status is Status.ABORTED
        assert tell(LOAD, at) == 0
        assert endpoint.memory.read(endpoint.spec.entry, 64) == code


def test_vms_do_not_find_one_that_is_destroyed(ffabric, how):
    system, _ = booted(ffabric, DESTROY)
    v = system.vm("v")
    assert {each.id for each in v.ffa.partition_info()} >= {0x8001, 0x8002}
    assert [each.id for each in v.ffa.partition_info(UUID)] == [0x8001]
    assert refusal(v, how) is Status.ABORTED
    for found in (v.ffa.partition_info(), v.ffa.partition_info_regs()):
        assert {each.id for each in found} == {v.id, 0x8002}
    with pytest.raises(FfaError, match="INVALID_PARAMETERS"):
        v.ffa.partition_info(UUID)


@pytest.mark.parametrize("again", [1, 2])
def test_one_at_s_el0_hears_of_its_devices_after_it_has_begun_again(ffabric, how, again):
    """It cannot enable their interrupts: they are enabled from each start on."""
    interrupt = Interrupt(40, 0x901)
    device = DeviceRegion(
        name="d", base_address=0x1C0B_0000, pages=1, attributes=3, interrupts=(interrupt,)
    )
    fragile = Fragile()
    user = sp(
        fragile,
        ffa_version=V1_3,
        lifecycle_support=True,
        abort_action=RESTART,
        exception_level=ExceptionLevel.S_EL0,
        device_regions=(device,),
    )
    system = ffabric.boot(stop_on_crash=False, sps=[user], vms=["v"])
    for _ in range(again):
        assert refusal(system.vm("v"), how) is Status.ABORTED
    system.interrupt(40)
    system.run()
    assert fragile.interrupts == [(again + 1, 40)]


class Early(Partition):
    """An SP that asks another one while it initialises."""

    name = "early"
    answer: Status | None = None

    def __init__(self, what):
        super().__init__()
        self.what = what

    async def on_boot(self, ffa):
        await ffa.map_buffers()
        try:
            await ffa.direct_request("fragile", self.what, 1)
            self.answer = Status.SUCCESS
        except FfaError as error:
            self.answer = error.status


@pytest.mark.parametrize("aborts", [True, False])
def test_one_that_aborts_while_another_initialises_begins_again_before_that_goes_on(
    ffabric, how, aborts
):
    early, fragile = Early(how if aborts else ECHO), Fragile()
    again = sp(fragile, ffa_version=V1_3, lifecycle_support=True, abort_action=RESTART)
    system = ffabric.boot(stop_on_crash=False, sps=[again, early], vms=["v"])
    assert early.answer is (Status.ABORTED if aborts else Status.SUCCESS)
    assert fragile.booted == 1 + aborts
    assert not system.crashes
    assert ask(system.vm("v"), ECHO) == (2, fragile.booted)
