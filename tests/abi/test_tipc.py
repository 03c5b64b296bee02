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


def test_shared_memory_is_refused():
    with pytest.raises(DecodeError, match="shm_count"):
        tipc.parse(bytes.fromhex("00000000 00000000 0000 0100 0000 0000"))
