import pytest

from events_at_hand import recording
from ffabric import MemoryPermissions
from ffabric.firmware.state.events import Notification, VmCreated
from ffabric.guests.errors import FfaError
from ffabric.machine.events import Call, Crash, Idle, Resume, Return, Start
from ffabric.observe.lines import Header
from ffabric.observe.ownership import Ownership
from ffabric.observe.timeline import Timeline

REQUEST = (0x8400006F, 0x1_8001, 0, 7, *[0] * 14)
RESPONSE = (0x84000070, 0x8001_0001, 0, 8, *[0] * 14)
RUN = (0x8400006D, 0x8001_0000, *[0] * 16)
WAIT = (0x8400006B, *[0] * 17)
RWNX = MemoryPermissions.RW | MemoryPermissions.NX


def header(**fields):
    return Header(2, "system", 1, True, {"vm": 1, "sp": 0x8001}, {}, **fields)


def timeline(*events):
    return Timeline().add([header(levels={"vm": 1, "sp": 0}), *events])


def test_a_request_leads_to_its_receiver_and_the_response_back():
    found = timeline(
        Call(0, "vm", 0, REQUEST, t=1),
        Return(0, "sp", 0, REQUEST, t=2),
        Call(0, "sp", 0, RESPONSE, t=3),
        Return(0, "vm", 0, RESPONSE, t=4),
    ).moments
    assert [each.to for each in found] == [None, 2, None, 4, None]
    assert [each.end for each in found] == [None, 4, None, None, None]


def test_a_receiver_that_waited_before_the_recording_began_has_the_request_too():
    found = timeline(Call(0, "vm", 0, REQUEST), Resume(0, "sp", 0)).moments
    assert found[1].to == 2


def test_who_runs_meanwhile_has_not_received_it():
    found = timeline(Call(0, "vm", 0, REQUEST), Resume(0, "vm", 1), Resume(1, "sp", 0)).moments
    assert [each.to for each in found] == [None] * 4


def test_messages_of_two_pes_are_not_confused():
    found = timeline(
        Call(0, "vm", 0, REQUEST),
        Call(1, "vm", 1, REQUEST),
        Return(1, "sp", 1, REQUEST),
        Return(0, "sp", 0, REQUEST),
    ).moments
    assert [each.to for each in found] == [None, 4, 3, None, None]


@pytest.mark.parametrize("first", [Resume(0, "sp", 0), Return(0, "sp", 0, WAIT)])
def test_cycles_are_lent_to_who_runs_next(first):
    found = timeline(Call(0, "vm", 0, RUN), first).moments
    assert found[1].to == 2


def test_a_run_that_is_refused_leads_nowhere():
    found = timeline(Call(0, "vm", 0, RUN), Return(0, "vm", 0, WAIT), Resume(0, "sp", 0)).moments
    assert [each.to for each in found] == [None] * 4
    assert found[1].end == 2


@pytest.mark.parametrize("end", [Start(0, "vm", 0, 0, 0), Crash(0, "vm", 0, "it raised")])
def test_a_context_that_begins_anew_or_crashes_ends_its_call(end):
    found = timeline(Call(0, "vm", 0, WAIT), Idle(0, "vm", 0), end).moments
    assert found[1].end == 3


def test_the_end_of_a_run_ends_its_calls():
    found = Timeline().add([header(), Call(0, "vm", 0, WAIT), header(), Idle(0, "vm", 0)]).moments
    assert found[1].end == 2
    assert timeline(Call(0, "vm", 0, WAIT), Idle(0, "vm", 0)).moments[1].end is None


def test_lanes_are_by_world_and_level_with_the_managers_in_the_middle():
    found = timeline(
        Call(0, "sp", 0, WAIT),
        Call(0, "normal-world", 0, WAIT),
        Call(0, "vm", 1, WAIT),
        Call(0, "vm", 0, WAIT),
        Notification(0, 0x8001, 1, 4),
        VmCreated(0, "heir", 2),
    )
    names = [found.lanes[number].name for number in found.floors()]
    assert names == ["vm.0", "vm.1", "heir.0", "normal-world.0", "sp.0", "sp.1"]
    assert [found.lanes[number].level for number in found.floors()] == [1, 1, 1, 2, 0, 0]


def test_the_time_of_runs_adds_up():
    runs = [header(), Idle(0, "vm", 0, t=5), header(), Idle(0, "vm", 0, t=7)]
    found = Timeline().add(runs)
    assert [each.t for each in found.moments] == [0, 5, 5, 12]
    assert found.duration == 12


# Memory.


def histories(lines):
    """What became of the memory that was in any transaction: page counts and histories."""
    stretches = Ownership(Timeline().add(lines)).stretches()
    moved = [each for each in stretches if len(each.history) > 1]
    return [(each.pages, [(h.owner, h.state, h.borrowers) for h in each.history]) for each in moved]


@pytest.fixture
def run(ffabric):
    session = ffabric.boot(sps=["sp"], vms=["vm"])
    end = recording(session)
    return session.vm("vm"), session.sp("sp"), lambda: histories(end())


def test_shared_memory_stays_its_owners(run):
    vm, sp, end = run
    handle = vm.ffa.share("sp", ipa=vm.ram.allocate(3), pages=3)
    sp.ffa.retrieve(handle, "vm")
    with pytest.raises(FfaError):
        vm.ffa.reclaim(handle)
    sp.ffa.relinquish(handle)
    vm.ffa.reclaim(handle)
    history = [
        ("vm", "own", ()),
        ("vm", "shared", ()),
        ("vm", "shared", ("sp",)),
        ("vm", "shared", ()),
        ("vm", "own", ()),
    ]
    assert end() == [(3, history)]


def test_donated_memory_is_the_receivers(run):
    vm, sp, end = run
    handle = vm.ffa.donate("sp", ipa=vm.ram.allocate(1))
    sp.ffa.retrieve(handle, "vm", permissions=RWNX)
    assert end() == [(1, [("vm", "own", ()), ("vm", "donated", ()), ("sp", "own", ())])]


def test_memory_of_a_vm_that_is_gone_is_nobodys_but_what_a_borrower_keeps(ffabric):
    session = ffabric.boot(sps=["sp"], vms=["vm"])
    end = recording(session)
    vm, sp = session.vm("vm"), session.sp("sp")
    handle = vm.ffa.lend("sp", ipa=vm.ram.allocate(1))
    sp.ffa.retrieve(handle, "vm", permissions=RWNX)
    vm.ffa.id_get()  # the PE is the normal world's again
    session.destroy_vm("vm")
    kept, *others = sorted(histories(end()))
    assert kept[1][-1] == ("", "own", ("sp",))
    assert {history[-1] for _, history in others} == {("", "own", ())}


def test_a_trusted_os_is_of_the_secure_world_though_it_has_no_endpoint_id():
    first = header(levels={"op-tee": 1, "vm": 1}, secure=("op-tee",))
    entry = (0xBE000000, *[0] * 17)
    found = Timeline().add([first, Call(0, "op-tee", 0, entry), Call(0, "vm", 0, WAIT)])
    assert [(lane.name, lane.where) for lane in found.lanes] == [
        ("op-tee.0", "S-EL1"),
        ("vm.0", "NS-EL1"),
    ]
