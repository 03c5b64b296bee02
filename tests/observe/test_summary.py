from ffabric.observe.summary import Summary


def share(owner, pages):
    return {"kind": "share", "t": 0, "owner": owner, "ranges": [["0x1000", hex(pages)]]}


def header(*, hypervisor):
    return {"kind": "header", "hypervisor": hypervisor, "endpoints": {"vm": "0x1"}}


def test_pages_that_a_hypervisor_relays_count_once():
    lines = [header(hypervisor=True), share("vm", 3), share("normal-world", 3)]

    assert Summary().add(lines).pages == {"share": 3}


def test_pages_of_a_kernel_without_a_hypervisor_count():
    assert Summary().add([header(hypervisor=False), share("normal-world", 3)]).pages["share"] == 3


def test_calls_are_listed_by_how_often_they_are_made():
    calls = [
        {"kind": "call", "t": t, "endpoint": name, "x": [x]}
        for t, name, x in (
            (1, "a", "0x84000069"),
            (2, "b", "0x8400006b"),
            (2_000_000, "b", "0x8400006b"),
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
    lines = [{"kind": "rx", "t": 0}, {"kind": "rx", "t": 0}, {"kind": "choices", "list": [1]}]

    assert ("events: rx", "2") in Summary().add(lines).rows()


def test_the_time_of_several_runs_in_one_trace_adds_up():
    run = [{"kind": "header"}, {"kind": "world", "to": "secure", "t": 3_000_000}]
    assert Summary().add(run + run).rows()[-1] == ("virtual time", "6.000 ms")
