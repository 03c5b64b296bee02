"""Trusty's IPC messages: golden bytes, round trips, hostile bytes."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.abi import tipc
from ffabric.abi.errors import DecodeError

u32 = st.integers(0, 0xFFFF_FFFF)


def test_a_message():
    message = tipc.Message(1024, 53, b"hi")
    data = tipc.build(message)
    assert data.hex(" ", -4) == "00040000 35000000 00000000 02000000 6869"
    assert tipc.parse(data + b"poison") == message


def test_connecting():
    request = tipc.build_conn_req("com.android.trusty.echo")
    assert request[:8].hex(" ", -4) == "03000000 00010000"
    assert len(request) == 8 + 256
    kind, body = tipc.parse_control(request)
    assert (kind, tipc.parse_conn_req(body)) == (tipc.Control.CONN_REQ, "com.android.trusty.echo")


@given(st.builds(tipc.ConnRsp, u32, u32, u32, u32, u32))
def test_answers(answer):
    kind, body = tipc.parse_control(tipc.build_conn_rsp(answer))
    assert kind is tipc.Control.CONN_RSP
    assert tipc.parse_conn_rsp(body) == answer


def test_disconnecting():
    kind, body = tipc.parse_control(tipc.build_disc_req(1025))
    assert (kind, tipc.parse_disc_req(body)) == (tipc.Control.DISC_REQ, 1025)


@given(st.binary(max_size=300))
def test_any_bytes_parse_or_are_refused(data):
    for parse in (
        tipc.parse,
        tipc.parse_control,
        tipc.parse_conn_req,
        tipc.parse_conn_rsp,
        tipc.parse_disc_req,
    ):
        with suppress(DecodeError):
            parse(data)


def test_names_of_ports_have_a_limit():
    with pytest.raises(ValueError, match="255"):
        tipc.build_conn_req("x" * 256)


def test_shared_memory_follows_the_data():
    pieces = (tipc.Shared(0x1234, 4096, 7), tipc.Shared(1 << 63, 10))
    message = tipc.Message(1, 2, b"odd", pieces)
    data = tipc.build(message)
    assert data[16:19] == b"odd"
    assert data[19:27] == (0x1234).to_bytes(8, "little")
    assert tipc.parse(data + b"more") == message
    with pytest.raises(DecodeError, match="length"):
        tipc.parse(data[:-1])


def test_so_much_shared_memory_goes_with_a_message_and_no_more():
    most = tipc.Message(1, 2, b"", (tipc.Shared(1, 1),) * tipc.MAX_SHARED)
    assert tipc.parse(tipc.build(most)) == most
    with pytest.raises(ValueError, match="at most 8"):
        tipc.build(tipc.Message(1, 2, b"", (tipc.Shared(1, 1),) * 9))
    with pytest.raises(DecodeError, match="shm_count"):
        tipc.parse(bytes.fromhex("00000000 00000000 0000 0900 0000 0000") + bytes(9 * 24))


def test_a_release_names_the_memory():
    kind, body = tipc.parse_control(tipc.build_release(0x8000_0000_0000_0001))
    assert (kind, tipc.parse_release(body)) == (tipc.Control.RELEASE, 0x8000_0000_0000_0001)
