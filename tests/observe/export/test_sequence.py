from events_at_hand import at, header
from ffabric.firmware.state.events import (
    Aborted,
    Console,
    Enter,
    Hop,
    Interrupt,
    Preempt,
    Refuse,
    Retrieve,
    Share,
    VmCreated,
    World,
)
from ffabric.machine.events import Abort, Call, Crash, Resume, Return, Slice
from ffabric.observe.export.sequence import Sequence

ENDPOINTS = {"vm": 1, "sp-1": 0x8001}
REQUEST = [0x8400006F, 0x18001]
RESPONSE = [0x84000070, 0x80010001]
EXCHANGE = [
    at(Call, "vm", REQUEST),
    World(0, "secure"),
    at(Hop, "normal-world", REQUEST),
    at(Return, "sp-1", REQUEST),
    at(Call, "sp-1", RESPONSE),
    World(0, "normal"),
    at(Return, "vm", RESPONSE),
]


def drawn(*lines, hypervisor=True, limit=300):
    first = header(ENDPOINTS, hypervisor=hypervisor)
    return Sequence(limit=limit).draw([first, *lines]).splitlines()


def notes(*lines):
    return [step.strip() for step in drawn(*lines) if "Note" in step]


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
    steps = drawn(*EXCHANGE, hypervisor=False)

    assert "    p_vm->>p_SPMC: FFA_MSG_SEND_DIRECT_REQ_32" in steps
    assert not [step for step in steps if "Hypervisor" in step]


def test_a_refusal_and_its_status_are_drawn():
    steps = drawn(
        at(Call, "vm", [0x84000077]),
        Refuse(0, "vm", 0, "mem.handle", "", "X", "", "", ""),
        at(Return, "vm", [0x84000060, 0, 0xFFFFFFFE]),
        at(Return, "vm", [0x84000060, 0, 0x63]),
    )

    assert "    Note over p_Hypervisor: mem.handle refuses: X" in steps
    assert "    p_Hypervisor-->>p_vm: FFA_ERROR INVALID_PARAMETERS" in steps
    assert "    p_Hypervisor-->>p_vm: FFA_ERROR 0x63" in steps


def test_what_the_spmc_refuses_is_noted_there():
    refusal = Refuse(0, "normal-world", 0, "r", "", "X", "", "", "")

    assert "    Note over p_SPMC: r refuses: X" in drawn(refusal)


def test_memory_and_fates_are_notes():
    assert notes(
        Share("vm", ((0x1000, 3), (0x9000, 1))),
        Share("normal-world", ((0x1000, 3),)),
        Retrieve("sp-1", ((0x1000, 0, 1),)),
        Abort(0, "sp-1", 0, "data", 0x4, 0x8, True, 0x92000046, 0x40),
        Aborted("sp-1", "data abort at 0x4; #2"),
        Crash(0, "vm", 0, "stopped"),
        Aborted("vm", "stopped"),
        Interrupt(0, 40, "sp-1"),
        Preempt(0, "sp-1", 0, ""),
        Console("vm", "hello"),
        VmCreated(0, "heir", 2),
        Share("heir", ((0x1000, 1),)),
    ) == [
        "Note over p_vm: share: 4 pages",
        "Note over p_sp_1: retrieve: 1 page",
        "Note over p_sp_1: data abort at 0x4",
        "Note over p_sp_1: aborted data abort at 0x4#59; #35;2",
        "Note over p_vm: aborted stopped",
        "Note over p_sp_1: interrupt 40",
        "Note over p_sp_1: preempted",
        "Note over p_heir: created",
        "Note over p_heir: share: 1 page",
    ]


def test_only_an_answer_is_drawn_as_one():
    spinning = [at(Call, "vm", [0x84000063]), Slice(0, "vm", 0), Resume(0, "vm", 0)]

    assert [step for step in drawn(*spinning) if ">>" in step] == [
        "    p_vm->>p_Hypervisor: FFA_VERSION"
    ]


def test_a_pe_that_comes_back_without_an_answer_crosses_with_none():
    back = drawn(*EXCHANGE[:-1], Resume(0, "vm", 0), *EXCHANGE[-1:])

    assert back[-1] == "    p_Hypervisor-->>p_vm: FFA_MSG_SEND_DIRECT_RESP_32"
    assert "    p_SPMC-->>p_Hypervisor: FFA_MSG_SEND_DIRECT_RESP_32" not in back


def test_a_trusted_os_is_entered_not_answered():
    entered = Enter(0, "sp-1", 0, "fast", (0xB2000009, *[0] * 17))

    assert drawn(entered)[-1] == "    p_SPMC->>p_sp_1: OPTEE_SMC_EXCHANGE_CAPABILITIES"


def test_a_long_run_is_cut_with_a_note():
    steps = drawn(*EXCHANGE * 3, limit=8)

    assert sum("->>" in step for step in steps) == 8
    assert steps[-1] == "    Note over p_vm: and 10 more steps"


def test_an_empty_trace_is_a_diagram():
    assert Sequence().draw([]) == "sequenceDiagram\n"
