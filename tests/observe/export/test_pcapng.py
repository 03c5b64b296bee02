"""Captures and their dissector, in a real tshark."""

import shutil
import subprocess

import pytest

from events_at_hand import recording
from ffabric import FfaError
from ffabric.abi import hafnium, psci
from ffabric.abi.ffa.functions import FUNCTIONS, KNOWN_BY_NAME
from ffabric.abi.optee import smc
from ffabric.firmware.state.events import Console
from ffabric.machine.events import Call, Return
from ffabric.observe.export.pcapng import dissector, write_pcapng
from ffabric.observe.lines import Header

HEADER = Header(2, "system", 1, True, {"vm": 1, "sp": 0x8001}, {})
VIRTIO_MSG = (0xA14A_9824_B528_60C6, 0xF0AB_2261_DA77_E79D)
RESET = 0x0008_0002_0000_8302
ANSWER = (0xC400008E, 0x8001_0001, 0, 0, RESET + 1, *[0] * 13)


def question(service):
    return (0xC400008D, 0x1_8001, *service, RESET, *[0] * 13)


@pytest.fixture
def tshark(tmp_path):
    """Fields of the packets that a filter lets through, a line each; nothing may be wrong."""
    program = shutil.which("tshark")
    assert program, "no tshark: apt-get install tshark"
    script = tmp_path / "ffa.lua"
    script.write_text(dissector())

    def tshark(lines, *fields, only="", options=()):
        file = tmp_path / "run.pcapng"
        with file.open("wb") as sink:
            write_pcapng(lines, sink)
        command = [program, "-X", f"lua_script:{script}", "-r", file, "-T", "fields", *options]
        command += [word for each in fields for word in ("-e", each)]
        command += ["-Y", only] if only else []
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "Lua" not in done.stderr
        return done.stdout.splitlines()

    return tshark


def recorded(session, act):
    end = recording(session)
    act()
    return end()


def test_calls_and_answers_have_names(ffabric, tshark):
    session = ffabric.boot(vms=["vm"])
    lines = recorded(session, session.vm("vm").ffa.id_get)
    found = tshark(lines, "ffa.name", "ffa.call", only="ffa.kind == 0 && ffa.name == vm")
    assert found == ["vm\tFFA_ID_GET"]
    assert len(tshark(lines, "frame.number", only="ffa.kind == 1")) == 1


def test_an_error_has_its_status_and_a_packet_says_what_a_trace_does(ffabric, tshark):
    session = ffabric.boot(vms=["vm"])

    def act():
        with pytest.raises(FfaError):
            session.vm("vm").ffa.reclaim(99)

    (found,) = tshark(recorded(session, act), "ffa.status", "frame.comment", only="ffa.status")
    assert found == "-2\t< FFA_ERROR: status=INVALID_PARAMETERS argument=0x0"


def test_virtio_msg_in_registers_is_dissected(tshark):
    lines = [HEADER, Call(0, "vm", 0, question(VIRTIO_MSG)), Call(0, "vm", 0, question((1, 2)))]
    found = tshark(lines, "virtio_msg.name", "virtio_msg.token", only="virtio_msg")
    assert found == ["RESET\t0x0002"]


def test_a_packet_that_is_looked_at_again_reads_as_it_did(tshark):
    request, answer = "FFA_MSG_SEND_DIRECT_REQ2", "FFA_MSG_SEND_DIRECT_RESP2"
    lines = [
        HEADER,
        Call(0, "vm", 0, question(VIRTIO_MSG)),
        Call(0, "sp", 0, ANSWER),
        Call(0, "vm", 1, question((1, 2))),
        Call(0, "sp", 1, ANSWER),
    ]
    for some, found in [
        ("ffa", [request, answer]),
        (f"ffa.call == {answer}", [answer]),
        ("ffa.vcpu == 0", [request, answer]),
        ("ffa.vcpu == 1", []),
    ]:
        assert tshark(lines, "ffa.call", only="virtio_msg", options=("-2", "-R", some)) == found


def test_requests_on_two_pes_do_not_take_each_others_service(tshark):
    lines = [
        HEADER,
        Call(0, "vm", 0, question(VIRTIO_MSG)),
        Call(1, "vm", 1, question((1, 2))),
        Call(0, "sp", 0, ANSWER),
        Call(1, "sp", 1, ANSWER),
    ]
    assert tshark(lines, "frame.number", only="virtio_msg") == ["1", "3"]


@pytest.mark.parametrize("functions", [FUNCTIONS, psci.FUNCTIONS, hafnium.FUNCTIONS, smc.FUNCTIONS])
def test_every_function_is_known_to_the_dissector(tshark, functions):
    lines = [HEADER, *(Call(0, "vm", 0, (number, *[0] * 17)) for number in functions)]
    assert tshark(lines, "ffa.call") == [each.name for each in functions.values()]


def test_functions_known_by_name_alone_are_named(tshark):
    lines = [HEADER, *(Call(0, "vm", 0, (number, *[0] * 17)) for number in KNOWN_BY_NAME)]
    assert tshark(lines, "ffa.call") == list(KNOWN_BY_NAME.values())


def test_that_an_event_was_taken_is_told(tshark):
    event = (0xC400008D, 0x1_8001, *VIRTIO_MSG, 0x0008_0002_0000_4100, *[0] * 13)
    taken = (0xC400008E, 0x8001_0001, 0, 0, 0x0008_0000_0000_0003, *[0] * 13)
    lines = [HEADER, Call(0, "vm", 0, event), Call(0, "sp", 0, taken)]
    assert tshark(lines, "virtio_msg.name") == ["EVENT_AVAIL", "event taken"]


def test_hostile_names_and_long_writes_are_packets_too(tshark):
    name = "\x1b[31m<b>\"'\\ü"
    data = ((0x1000, bytes(0x1_0000)), (0x2000, bytes(16)))
    lines = [
        Header(2, "system", 1, True, {name: 1}, {}),
        Call(0, name, 0, (0x84000086, *[0xFFFF_FFFF_FFFF_FFFF] * 17), data),
        Return(3, name, 0, (0xDEAD_BEEF, *[0] * 17), t=1 << 40),
        Console(name, "no packet"),
    ]
    found = tshark(lines, "frame.interface_name", "ffa.call", "frame.time_epoch")
    assert [line.split("\t")[:2] for line in found] == [
        ["PE0", "FFA_MSG_SEND2"],
        ["PE3", "0xdeadbeef"],
    ]
    assert found[1].endswith("1099.511627776")
