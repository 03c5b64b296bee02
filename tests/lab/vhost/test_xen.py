"""Back ends in one VM's domain, drivers in another: with our own back end, a process of its own."""

import struct
import sys
from contextlib import suppress
from socket import socketpair

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi import vhost_user as abi
from ffabric.abi.vhost_user import Request
from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.lab.vhost import back_end, xen
from ffabric.lab.vhost.back_end import BackEnd, Misunderstood
from ffabric.machine.host.vhost_user.daemon import NUMBERED, SOCKET
from ffabric.machine.host.vhost_user.front_end import BackEndLost
from processes_at_hand import SOON

GENERATIONS = pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)


@GENERATIONS
def test_a_vm_drives_what_back_ends_of_another_vm_serve(generation):
    shown = xen.show({}, SOON, generation)
    assert shown.problem == ""
    assert shown.messages > 100
    assert {name: done for name, _, done in shown.rows} == {
        "gpio": "2 lines, one driven and read back, and the interrupt of another",
        "i2c": "registers of the chip at 0x50 written and read back",
    }


def stand_in(kind, path=SOCKET):
    return [sys.executable, "-m", back_end.__name__, kind, path]


def test_a_back_end_of_ones_own_takes_the_place_of_the_stand_in():
    """Also one that puts a number behind the path of its socket."""
    shown = xen.show({"gpio": stand_in("gpio", f"{NUMBERED}0")}, SOON)
    assert shown.problem == ""
    assert shown.rows[0][1].startswith(f"{sys.executable.rsplit('/', 1)[1]} (process ")


def test_a_back_end_of_another_kind_is_told_of():
    shown = xen.show({"gpio": stand_in("rng")}, SOON)
    assert shown.problem


def test_a_back_end_that_ends_at_once_is_told_of():
    with pytest.raises(BackEndLost, match=r"gpio: .*a kind of device .* and a socket are expected"):
        xen.show({"gpio": stand_in("toaster")}, SOON)


def test_a_program_that_is_not_there_is_told_of():
    with pytest.raises(FileNotFoundError, match="there is no program no-such-program"):
        xen.show({"i2c": ["no-such-program"]}, SOON)


# What the back end is told.


def told(data, kind="rng"):
    """What becomes of a back end that is told this, and then hung up on."""
    there, here = socketpair()
    with here:
        there.sendall(data)
        there.close()
        BackEnd(back_end.KINDS[kind](), here).run()


def message(request, payload=b"", flags=abi.VERSION):
    return abi.HEADER.pack(request, flags, len(payload)) + payload


def test_a_back_end_ends_when_it_is_hung_up_on():
    told(b"")
    told(message(Request.SET_OWNER))
    told(message(Request.SET_OWNER)[:-1])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (message(99), "request 99 is not served here"),
        (message(Request.SET_OWNER, flags=2), "flags 0x2"),
        (abi.HEADER.pack(Request.SET_OWNER, 1, abi.MAX_PAYLOAD + 1), "4097 bytes"),
        (message(Request.SET_VRING_NUM, abi.VRING_STATE.pack(7, 4)), "SET_VRING_NUM: list"),
        (message(Request.SET_VRING_NUM, b"short"), "SET_VRING_NUM: unpack"),
        (message(Request.SET_VRING_BASE, abi.VRING_STATE.pack(0, 3)), "starts at its beginning"),
        (message(Request.SET_VRING_KICK, abi.U64.pack(0)), "0 descriptors"),
        (message(Request.SET_MEM_TABLE, abi.build_table([(0, 4096, 0)])), "1 regions"),
        (message(Request.GET_CONFIG, abi.CONFIG.pack(0, 257, 0)), "257 bytes"),
        (message(Request.SET_FEATURES, b"four"), "SET_FEATURES"),
    ],
)
def test_what_a_back_end_does_not_understand_ends_it(data, why):
    with pytest.raises(Misunderstood, match=why):
        told(data)


@settings(max_examples=200)
@given(st.sampled_from([*Request, 0, 99]), st.binary(max_size=64), st.sampled_from([1, 9, 5]))
def test_nothing_that_it_is_told_is_an_error_of_its_own(request, payload, flags):
    with suppress(Misunderstood, ConnectionError):
        told(message(request, payload, flags))


def test_a_front_end_is_answered_what_the_device_has():
    there, here = socketpair()
    asked = (Request.GET_FEATURES, Request.GET_PROTOCOL_FEATURES, Request.GET_QUEUE_NUM)
    with here, there:
        there.sendall(b"".join(map(message, asked)))
        there.shutdown(1)
        BackEnd(back_end.KINDS["gpio"](), here).run()
        size = abi.HEADER.size + abi.U64.size
        data = there.recv(size * len(asked))
    answers = [struct.unpack("<IIIQ", data[at : at + size]) for at in range(0, len(data), size)]
    assert [each[0] for each in answers] == list(asked)
    assert answers[0][3] & 1 << 32
    assert answers[0][3] & 1
    assert answers[1][3] & abi.PROTOCOL_CONFIG
    assert not answers[1][3] & abi.PROTOCOL_CONFIGURE_MEM_SLOTS
    assert answers[2][3] == 2
