import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.version import LATEST
from ffabric.observe.text import STYLES, Reader

HEADER = {"kind": "header", "endpoints": {"vm": "0x1", "sp": "0x8001"}}


def at(kind, endpoint, x, t=1500, **more):
    x = [hex(value) for value in x]
    return {"kind": kind, "t": t, "pe": 0, "endpoint": endpoint, "vcpu": 0, "x": x, **more}


def read(*lines, **options):
    return [text for _, text in Reader(**options).read([HEADER, *lines])]


REQUEST = [fid.FFA_MSG_SEND_DIRECT_REQ_32, 0x18001, 0, 2]
RESPONSE = [fid.FFA_MSG_SEND_DIRECT_RESP_32, 0x80010001, 0, 5]


def test_who_runs_on_anothers_account_is_indented():
    texts = read(
        at("call", "vm", REQUEST),
        at("return", "sp", REQUEST),
        at("call", "sp", RESPONSE),
        at("return", "vm", RESPONSE),
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
    texts = read(at("call", "sp", [fid.FFA_ID_GET]), at("return", "sp", [fid.FFA_SUCCESS_32, 0, 7]))
    version = read(at("call", "vm", [fid.FFA_VERSION, 0x10001]), at("return", "vm", [0x10002]))

    assert texts[1].endswith("< FFA_SUCCESS_32: id=0x0007")
    assert version[1].endswith("< FFA_VERSION returned: result=1.2")


def test_hops_are_shown_on_request():
    hop = at("hop", "normal-world", [fid.FFA_ID_GET])

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
    call = at("call", "vm", [fid.FFA_MEM_SHARE_32, len(sent), len(sent)])
    _, shown = read({**call, "write": [["0x4000", sent.hex()]]})
    _, broken = read({**call, "write": [["0x4000", sent[:20].hex()]]})

    assert "from 0x0001 (vm); to 0x8001 (sp)" in shown
    assert "0x1000+1, 0x2000+1, 0x3000+1, 0x4000+1 and 2 more ranges" in shown
    assert "tag 0x5" in shown
    assert "malformed: " in broken


def test_a_refusal_shows_rule_values_and_section():
    refusal = {
        **at("refuse", "vm", []),
        "rule": "mem.handle",
        "section": "DEN0140 1.2, section 1.10.2",
        "status": "INVALID_PARAMETERS",
        "text": "The handle is known.",
        "got": "0x7",
        "expected": "a handle",
    }
    texts = read(refusal)

    assert "! refused by mem.handle: INVALID_PARAMETERS" in texts[0]
    assert texts[1].strip() == "The handle is known."
    assert texts[2].strip() == "got 0x7, expected a handle (DEN0140 1.2, section 1.10.2)"


@pytest.mark.parametrize(
    ("line", "style", "expected"),
    [
        (
            {"kind": "share", "owner": "vm", "ranges": [["0x1000", "0x2"]]},
            "event",
            "* share vm: pages 0x1000+2",
        ),
        (
            {"kind": "retrieve", "borrower": "sp", "ranges": [["0x1000", "0x9000", "0x2"]]},
            "event",
            "* retrieve sp: pages 0x1000+2",
        ),
        ({"kind": "console", "partition": "sp", "text": "hello"}, "console", "sp: hello"),
        ({"kind": "other", "list": [["0x1"]]}, "event", "* other list=[[0x1]]"),
    ],
)
def test_events_have_a_style_and_a_text(line, style, expected):
    ((found, text),) = Reader().line({"t": 0, **line})

    assert found == style
    assert expected in text
    assert style in STYLES


@pytest.mark.parametrize("kind", ["choices", "rx", "start", "header"])
def test_what_a_person_does_not_need_is_left_out(kind):
    assert list(Reader().line({"kind": kind, "t": 0})) == []


def test_an_answer_to_nothing_known_is_left_out():
    assert read(at("return", "vm", [fid.FFA_SUCCESS_32])) == []
    waiting = at("return", "vm", [fid.FFA_ID_GET])
    assert len(read(at("call", "vm", [fid.FFA_VERSION, 0x10001]), waiting)) == 1


def switched(*switches):
    """What is printed between two calls for world switches of (PE, world)."""
    call = at("call", "vm", [fid.FFA_ID_GET])
    worlds = [{"kind": "world", "t": 10, "pe": pe, "to": to} for pe, to in switches]
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
    world = {"kind": "world", "t": 0, "pe": 0, "to": "secure"}
    hop = at("hop", "normal-world", [fid.FFA_ID_GET])

    assert len(read(world, hop, world, hop)) == 0
    assert len(read(world, hop, world, hop, hops=True)) == 4
