from ffabric.observe.sequence import Sequence

HEADER = {
    "kind": "header",
    "format": 1,
    "hypervisor": True,
    "endpoints": {"vm": "0x1", "sp-1": "0x8001"},
}
REQUEST = ["0x8400006f", "0x18001"]
RESPONSE = ["0x84000070", "0x80010001"]


def at(kind, endpoint, x, pe=0):
    return {"kind": kind, "t": 0, "pe": pe, "endpoint": endpoint, "vcpu": 0, "x": x}


def world(to, pe=0):
    return {"kind": "world", "t": 0, "pe": pe, "to": to}


EXCHANGE = [
    at("call", "vm", REQUEST),
    world("secure"),
    at("hop", "normal-world", REQUEST),
    at("return", "sp-1", REQUEST),
    at("call", "sp-1", RESPONSE),
    world("normal"),
    at("return", "vm", RESPONSE),
]


def drawn(*lines, header=HEADER, limit=300):
    return Sequence(limit=limit).draw([header, *lines]).splitlines()


def test_a_direct_request_goes_from_manager_to_manager_and_back():
    assert drawn(*EXCHANGE) == [
        "sequenceDiagram",
        "    box Normal world",
        "    participant p_vm as vm",
        "    participant p_Hypervisor as Hypervisor",
        "    end",
        "    box Secure world",
        "    participant p_SPMC as SPMC",
        "    participant p_sp_1 as sp-1",
        "    end",
        "    p_vm->>p_Hypervisor: FFA_MSG_SEND_DIRECT_REQ_32",
        "    p_Hypervisor->>p_SPMC: FFA_MSG_SEND_DIRECT_REQ_32",
        "    p_SPMC-->>p_sp_1: FFA_MSG_SEND_DIRECT_REQ_32",
        "    p_sp_1->>p_SPMC: FFA_MSG_SEND_DIRECT_RESP_32",
        "    p_SPMC-->>p_Hypervisor: FFA_MSG_SEND_DIRECT_RESP_32",
        "    p_Hypervisor-->>p_vm: FFA_MSG_SEND_DIRECT_RESP_32",
    ]


def test_without_a_hypervisor_the_kernel_calls_the_spmc():
    steps = drawn(*EXCHANGE, header={**HEADER, "hypervisor": False})

    assert "    p_vm->>p_SPMC: FFA_MSG_SEND_DIRECT_REQ_32" in steps
    assert not [step for step in steps if "Hypervisor" in step]


def test_a_refusal_and_its_status_are_drawn():
    steps = drawn(
        at("call", "vm", ["0x84000077"]),
        {"kind": "refuse", "pe": 0, "endpoint": "vm", "rule": "mem.handle", "status": "X"},
        at("return", "vm", ["0x84000060", "0x0", "0xfffffffe"]),
        at("return", "vm", ["0x84000060", "0x0", "0x63"]),
    )

    assert "    Note over p_Hypervisor: mem.handle refuses: X" in steps
    assert "    p_Hypervisor-->>p_vm: FFA_ERROR INVALID_PARAMETERS" in steps
    assert "    p_Hypervisor-->>p_vm: FFA_ERROR 0x63" in steps


def test_what_the_spmc_refuses_is_noted_there():
    refusal = {"kind": "refuse", "pe": 0, "endpoint": "normal-world", "rule": "r", "status": "X"}

    assert "    Note over p_SPMC: r refuses: X" in drawn(refusal)


def test_memory_and_fates_are_notes():
    steps = drawn(
        {"kind": "share", "t": 0, "owner": "vm", "ranges": [["0x1000", "0x3"], ["0x9000", "0x1"]]},
        {"kind": "share", "t": 0, "owner": "normal-world", "ranges": [["0x1000", "0x3"]]},
        {"kind": "retrieve", "t": 0, "borrower": "sp-1", "ranges": [["0x1000", "0x0", "0x1"]]},
        {"kind": "aborted", "t": 0, "partition": "sp-1", "reason": "abort at 0x4; #2"},
        {"kind": "crash", "t": 0, "context": "vm.0", "reason": "stopped"},
        {"kind": "interrupt", "t": 0, "pe": 0, "intid": "0x28", "partition": "sp-1"},
        {"kind": "console", "t": 0, "partition": "vm", "text": "hello"},
    )

    assert [step.strip() for step in steps if "Note" in step] == [
        "Note over p_vm: share: 4 pages",
        "Note over p_sp_1: retrieve: 1 page",
        "Note over p_sp_1: aborted abort at 0x4#59; #35;2",
        "Note over p_vm: crash stopped",
        "Note over p_sp_1: interrupt 0x28",
    ]


def test_calls_that_wait_in_registers_are_no_answers():
    waiting = at("return", "vm", ["0xc4000066", "0x1000", "0x2000", "0x1"])

    assert not [step for step in drawn(waiting) if "-->>" in step]


def test_a_long_run_is_cut_with_a_note():
    steps = drawn(*EXCHANGE * 3, limit=8)

    assert sum("->>" in step for step in steps) == 8
    assert steps[-1] == "    Note over p_vm: and 10 more steps"


def test_an_empty_trace_is_a_diagram():
    assert Sequence().draw([]) == "sequenceDiagram\n"
