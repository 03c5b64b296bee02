import pytest

from events_at_hand import at as at_zero
from events_at_hand import header
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.version import LATEST
from ffabric.cli.terminal import STYLES
from ffabric.firmware.state.events import (
    Aborted,
    Console,
    Enter,
    Hop,
    Preempt,
    Refuse,
    Retrieve,
    Rx,
    Share,
    VmCreated,
    World,
)
from ffabric.machine.events import Abort, Call, Idle, Resume, Return, Slice, Start
from ffabric.observe.decoding.text import Reader
from ffabric.observe.lines import Choices, Unknown

HEADER = header({"vm": 1, "sp": 0x8001})


def at(kind, endpoint, x, **more):
    return at_zero(kind, endpoint, x, t=1500, **more)


def read(*lines, **options):
    return [text for _, text in Reader(**options).read([HEADER, *lines])]


REQUEST = [fid.FFA_MSG_SEND_DIRECT_REQ_32, 0x18001, 0, 2]
RESPONSE = [fid.FFA_MSG_SEND_DIRECT_RESP_32, 0x80010001, 0, 5]


def test_who_runs_on_anothers_account_is_indented():
    texts = read(
        at(Call, "vm", REQUEST),
        at(Return, "sp", REQUEST),
        at(Call, "sp", RESPONSE),
        at(Return, "vm", RESPONSE),
    )

    to_sp = "sender=0x0001 (vm) receiver=0x8001 (sp) flags=0x0 w3=0x2"
    to_vm = "sender=0x8001 (sp) receiver=0x0001 (vm) flags=0x0 w3=0x5"
    assert [text[13:] for text in texts] == [
        f"vm.0             FFA_MSG_SEND_DIRECT_REQ_32: {to_sp}",
        f"sp.0               FFA_MSG_SEND_DIRECT_RESP_32: {to_vm}",
        f"vm.0           < FFA_MSG_SEND_DIRECT_RESP_32: {to_vm}",
    ]
    assert texts[0].startswith("PE0      1.5 ")


def test_an_answer_is_decoded_by_its_call():
    texts = read(at(Call, "sp", [fid.FFA_ID_GET]), at(Return, "sp", [fid.FFA_SUCCESS_32, 0, 7]))
    version = read(at(Call, "vm", [fid.FFA_VERSION, 0x10001]), at(Return, "vm", [0x10002]))

    assert texts[1].endswith("< FFA_SUCCESS_32: id=0x0007")
    assert version[1].endswith("< FFA_VERSION returned: result=1.2")


def test_hops_are_shown_on_request():
    hop = at(Hop, "normal-world", [fid.FFA_ID_GET])

    assert read(hop) == []
    assert "normal-world.0   FFA_ID_GET" in read(hop, hops=True)[0]


def test_the_descriptor_in_tx_is_shown_with_names():
    sent = memory.build_transaction(
        memory.Transaction(
            sender=1,
            receivers=[memory.Receiver(0x8001, mem.PERM_DATA_RW)],
            constituents=[(0x1000 * n, 1) for n in range(1, 7)],
            tag=5,
        ),
        LATEST,
    )

    def shares(data):
        x = [fid.FFA_MEM_SHARE_32, len(sent), len(sent)]
        return at(Call, "vm", x, write=((0x4000, data),))

    _, shown = read(shares(sent))
    _, broken = read(shares(sent[:20]))

    assert "from 0x0001 (vm); to 0x8001 (sp)" in shown
    assert "0x1000+1, 0x2000+1, 0x3000+1, 0x4000+1 and 2 more ranges" in shown
    assert "tag 0x5" in shown
    assert "malformed: " in broken


def test_a_refusal_shows_rule_values_and_section():
    refusal = Refuse(
        pe=0,
        endpoint="vm",
        vcpu=0,
        rule="mem.handle",
        section="DEN0140 1.2, section 1.10.2",
        status="INVALID_PARAMETERS",
        text="The handle is known.",
        got="0x7",
        expected="a handle",
    )
    texts = read(refusal)

    assert "! refused by mem.handle: INVALID_PARAMETERS" in texts[0]
    assert texts[1].strip() == "The handle is known."
    assert texts[2].strip() == "got 0x7, expected a handle (DEN0140 1.2, section 1.10.2)"


@pytest.mark.parametrize(
    ("line", "style", "expected"),
    [
        (Share("vm", ((0x1000, 2),)), "event", "* share vm: pages 0x1000+2"),
        (Retrieve("sp", ((0x1000, 0x9000, 2),)), "event", "* retrieve sp: pages 0x1000+2"),
        (Console("sp", "hello"), "console", "sp: hello"),
        (Aborted("sp", "no more"), "event", "* aborted partition=sp reason=no more"),
        (VmCreated(0, "heir", 2), "event", "* vm_created partition=heir endpoint=0x2"),
        (Preempt(0, "sp", 0, ""), "event", "sp.0           * preempt by="),
        (
            Abort(0, "vm", 1, "data", 0x1004, 0x2004, True, 0x92000046, 0x40),
            "event",
            "vm.1           * abort fault=data ipa=0x1004 va=0x2004 write=True syndrome=0x92000046",
        ),
        (
            Enter(0, "sp", 1, "fast", (0xB2000009, *[0] * 17)),
            "event",
            "sp.1           * entered at its fast vector: OPTEE_SMC_EXCHANGE_CAPABILITIES",
        ),
        (
            Enter(0, "sp", 0, "fiq", (0,) * 18),
            "event",
            "sp.0           * entered at its fiq vector",
        ),
        (Unknown("omen", {"t": 1500, "pe": 3, "list": [["0x1"]]}), "event", "* omen list=[[0x1]]"),
    ],
)
def test_events_have_a_style_and_a_text(line, style, expected):
    ((found, text),) = Reader().line(line)

    assert found == style
    assert expected in text
    assert style in STYLES


SCHEDULE = [Start(0, "vm", 0, 0x4000, 0), Resume(0, "vm", 0), Slice(0, "vm", 0), Idle(0, "vm", 0)]


def test_what_a_person_does_not_need_is_left_out():
    assert read(Choices((1,)), Rx("vm", full=True), *SCHEDULE) == []


def test_who_has_a_pe_is_shown_on_request():
    assert [text.split("* ")[1] for text in read(*SCHEDULE, schedule=True)] == [
        "start entry=0x4000 argument=0x0", "resume", "slice", "idle",
    ]  # fmt: skip


def test_a_line_of_a_newer_version_says_what_it_says_even_without_a_time():
    assert read(Unknown("omen", {"t": "noon"})) == [f"{'':13}{'':14} * omen"]
    assert read(Unknown("omen", {"t": 1500, "pe": 3}))[0].startswith("PE3      1.5 ")


def test_an_answer_to_nothing_known_is_left_out():
    assert read(at(Return, "vm", [fid.FFA_SUCCESS_32])) == []


def test_a_context_that_goes_on_without_an_answer_has_its_place_in_the_chain():
    texts = read(
        at(Call, "vm", [fid.FFA_RUN, 0x80010000]),
        Resume(0, "sp", 0),
        at(Call, "sp", [fid.FFA_ID_GET]),
    )

    assert texts[1][13:] == "sp.0               FFA_ID_GET"


def switched(*switches):
    """What is printed between two calls for world switches of (PE, world)."""
    call = at(Call, "vm", [fid.FFA_ID_GET])
    worlds = [World(pe, to, t=10) for pe, to in switches]
    return [text.strip("- ") for text in read(call, *worlds, call)[1:-1]]


def test_world_switches_stand_between_what_they_separate():
    assert switched((0, "secure")) == ["PE0      0.0 -------------- normal world -> secure world"]
    assert switched((0, "normal"))[0].endswith(" normal world <- secure world")


def test_world_switches_with_nothing_between_are_one_line_a_pe():
    assert switched((0, "secure"), (0, "normal"))[0].endswith(
        " 2 world switches, to the normal world"
    )
    shown = switched((1, "secure"), (0, "secure"), (1, "normal"))
    assert [text[:3] for text in shown] == ["PE1", "PE0"]


def test_hops_keep_world_switches_apart():
    world = World(0, "secure")
    hop = at(Hop, "normal-world", [fid.FFA_ID_GET])

    assert len(read(world, hop, world, hop)) == 0
    assert len(read(world, hop, world, hop, hops=True)) == 4


def test_what_is_skipped_decides_how_what_follows_reads():
    lines = [
        HEADER,
        at(Call, "vm", REQUEST),
        at(Return, "sp", REQUEST),
        at(Call, "sp", [fid.FFA_ID_GET]),
        at(Return, "sp", [fid.FFA_SUCCESS_32, 0, 0x8001]),
    ]
    whole, late = Reader(), Reader()
    told = [[*whole.line(line)] for line in lines]
    for line in lines[:-1]:
        late.skip(line)
    assert [*late.line(lines[-1])] == told[-1] != []
    assert "(sp)" in told[-1][0][1]
