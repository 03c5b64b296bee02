from events_at_hand import at, header
from ffabric.firmware.state.events import Rx, Share, VmCreated, World
from ffabric.machine.events import Call, Resume, Return, Slice
from ffabric.observe.lines import Choices, Unknown
from ffabric.observe.summary import Summary


def share(owner, pages):
    return Share(owner, ((0x1000, pages),))


def run(*, hypervisor=True):
    return header({"vm": 1}, hypervisor=hypervisor)


def test_pages_that_a_hypervisor_relays_count_once():
    lines = [run(), share("vm", 3), share("normal-world", 3)]

    assert Summary().add(lines).pages == {"share": 3}


def test_pages_of_a_vm_that_comes_while_the_system_runs_count():
    lines = [run(), share("heir", 3), VmCreated(0, "heir", 2), share("heir", 2)]

    assert Summary().add(lines).pages == {"share": 2}


def test_pages_of_a_kernel_without_a_hypervisor_count():
    assert Summary().add([run(hypervisor=False), share("normal-world", 3)]).pages["share"] == 3


def test_calls_are_listed_by_how_often_they_are_made():
    calls = [
        at(Call, name, [x], t=t)
        for t, name, x in (
            (1, "a", 0x84000069),
            (2, "b", 0x8400006B),
            (2_000_000, "b", 0x8400006B),
        )
    ]
    rows = Summary().add(calls).rows()

    assert rows[:3] == [
        ("calls", "3 by 2 endpoints"),
        ("  FFA_MSG_WAIT", "2"),
        ("  FFA_ID_GET", "1"),
    ]
    assert rows[-1] == ("virtual time", "2.000 ms")


def test_other_events_are_counted_by_kind():
    lines = [
        *[Rx("vm", full=True)] * 2,
        *[Slice(0, "vm", 0)] * 3,
        *[at(Return, "vm", [0]), Resume(0, "vm", 0), Choices((1,))],
        Unknown("omen", {}),
    ]

    assert [row for row in Summary().add(lines).rows() if row[0].startswith("events")] == [
        ("events: omen", "1"),
        ("events: rx", "2"),
        ("events: slice", "3"),
    ]


def test_the_time_of_several_runs_in_one_trace_adds_up():
    once = [run(), World(0, "secure", t=3_000_000)]
    assert Summary().add(once + once).rows()[-1] == ("virtual time", "6.000 ms")


def test_calls_beyond_ffa_have_names_too():
    lines = [run(), *(Call(0, "vm", 0, (x0, *[0] * 17)) for x0 in (0x84000000, 0xBE000005, 7))]
    assert [name for name, _ in Summary().add(lines).rows()[1:4]] == [
        "  PSCI_VERSION",
        "  TEESMC_OPTEED_RETURN_CALL_DONE",
        "  0x00000007",
    ]
