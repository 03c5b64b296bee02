"""A VM that sends anything: OP-TEE answers, and serves the next call as before."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optee_sides import ADD, LAB, SHARED, WAIT

from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee import message as wire
from ffabric.abi.optee.message import Command, Empty, Fmem, Message, Type, Value
from ffabric.abi.optee.tee import Result
from ffabric.abi.words import MASK32, PAGE
from ffabric.guests.errors import FfaError
from ffabric.guests.optee.normal_world.driver import meta

FIXED = settings(
    deadline=None,
    max_examples=60,
    derandomize=True,
)
u32 = st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, (1 << 64) - 1)


class Hostile:
    """A VM with two shared pages that it fills with what it likes."""

    def __init__(self, tee):
        self.tee = tee
        self.shm = tee.driver.allocate(2 * PAGE)
        self.session = tee.driver.open_session(LAB)
        self.threads = tee.core.banks[0].threads

    def call(self, data, offset=0):
        """w3 to w7 of a yielding call, and of whatever it takes to end it."""
        self.shm.write(data[: 2 * PAGE - min(offset, 2 * PAGE)], min(offset, 2 * PAGE))
        cookie = self.shm.cookie
        words = self.tee.words(abi.YIELDING_CALL_WITH_ARG, cookie & MASK32, cookie >> 32, offset)
        for _ in range(20):
            if words[0] or words[1] == abi.Return.DONE:
                break
            words = self.tee.words(abi.YIELDING_CALL_RESUME, 0, 0, 0, words[4])
        return words

    def check(self):
        """Nothing is held, and a proper call works."""
        driver = self.tee.driver
        for thread in self.threads.all:
            if thread.state.name == "SUSPENDED":
                self.tee.words(abi.YIELDING_CALL_RESUME, 0, 0, 0, thread.number)
        session = driver.open_session(LAB)
        (answer,) = driver.invoke(session, ADD, Value(Type.VALUE_INOUT, 5, 0))
        assert (answer.a, answer.b) == (5, 1)
        driver.close_session(session)


@pytest.fixture
def hostile(tee):
    return Hostile(tee)


@FIXED
@given(st.lists(u32, min_size=5, max_size=5), st.sampled_from([32, 64]))
def test_any_registers(hostile, words, bits):
    assert len(hostile.tee.words(*words, bits=bits)) == 5
    hostile.check()


@FIXED
@given(
    st.sampled_from([*abi.SERVICES, abi.YIELDING | 3, 4]),
    st.lists(st.one_of(st.integers(0, 9), u32), min_size=4, max_size=4),
)
def test_services_with_any_parameters(hostile, service, words):
    hostile.tee.words(service, *words)
    hostile.check()


@FIXED
@given(st.binary(max_size=600), st.integers(0, 2 * PAGE + 64))
def test_any_bytes_as_a_message(hostile, data, offset):
    words = hostile.call(data, offset)
    assert words[0] in (Result.SUCCESS, Result.BAD_PARAMETERS, Result.NOT_IMPLEMENTED)
    hostile.check()


attributes = st.one_of(
    st.sampled_from([int(kind) for kind in Type]),
    st.sampled_from([wire.META_VALUE, wire.NONCONTIG | Type.TMEM_INPUT]),
    u64,
)
COOKIES = st.one_of(st.integers(0, 4), st.just(wire.NO_HANDLE), u64)


@st.composite
def forged(draw):
    """A message with a header and parameters that are nearly right."""
    count = draw(st.one_of(st.integers(0, 6), st.integers(0, 200), u32))
    header = struct.pack(
        "<8I",
        draw(st.one_of(st.integers(0, 12), u32)),
        draw(st.integers(0, 14)),
        draw(st.integers(0, 3)),
        draw(u32),
        draw(u32),
        draw(u32),
        draw(u32),
        count,
    )
    params = b""
    for _ in range(min(count, 6)):
        at = draw(st.one_of(st.integers(0, 2 * PAGE), u32))
        internal = draw(st.one_of(st.just(0), st.integers(0, 0xFFFF)))
        size = draw(st.one_of(st.integers(0, 2 * PAGE), u64))
        params += struct.pack("<QIHHQQ", draw(attributes), at, 0, internal, size, draw(COOKIES))
    return header + params


@FIXED
@given(forged(), st.integers(0, 64))
def test_forged_messages(hostile, data, offset):
    hostile.call(data, offset)
    hostile.check()


@FIXED
@given(forged(), st.binary(max_size=400), st.integers(0, 400))
def test_a_message_is_overwritten_while_it_is_served(hostile, data, other, at):
    """The reads of a TA and of OP-TEE happen between changes of the memory."""
    tee = hostile.tee
    shm = tee.driver.allocate(64)
    params = [*meta(SHARED), shm.inout()]
    opening = tee.driver.begin(Message(Command.OPEN_SESSION, params=params))
    session = tee.driver.finish(opening).session
    wait = [Value(Type.VALUE_INPUT, 7), shm.inout(), Empty(), Fmem(Type.FMEM_OUTPUT)]
    pending = tee.driver.begin(Message(Command.INVOKE_COMMAND, WAIT, session, params=wait))
    pending.shm.write(data[:384], pending.at)
    pending.shm.write(other[: 400 - at], pending.at + at)
    for _ in range(20):
        words = tee.words(abi.YIELDING_CALL_RESUME, 0, 0, 0, pending.thread)
        if words[0] or words[1] == abi.Return.DONE:
            break
    assert words[:2] == (0, abi.Return.DONE)
    tee.driver.state.slots.append((pending.shm, pending.at))
    tee.driver.close_session(session)
    tee.driver.free(shm)
    hostile.check()


def test_memory_that_is_taken_back_under_a_call(hostile):
    """The owner cannot: what OP-TEE has retrieved stays until OP-TEE relinquishes it."""
    tee = hostile.tee
    shm = tee.driver.allocate(64)
    wait = [Value(Type.VALUE_INPUT, 7), shm.inout()]
    message = Message(Command.INVOKE_COMMAND, WAIT, hostile.session, params=wait)
    pending = tee.driver.begin(message)
    with pytest.raises(FfaError, match="DENIED"):
        tee.driver.ffa.reclaim(shm.cookie)
    with pytest.raises(FfaError, match="DENIED"):
        tee.driver.ffa.reclaim(pending.shm.cookie)


def test_messages_at_the_end_of_their_memory(hostile):
    size = hostile.shm.size
    whole = wire.message_size(0) + wire.message_size(4)
    message = wire.build_message(Message(Command.DO_BOTTOM_HALF))
    assert hostile.call(message, size - whole)[0] == Result.SUCCESS
    for offset in (size - whole + 1, size - 32, size - 31, size, 0xFFFFFFFF):
        assert hostile.call(message, offset)[0] == Result.BAD_PARAMETERS
