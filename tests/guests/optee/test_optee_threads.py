"""Threads: how many there are, how they are resumed, how one waits for another."""

import pytest
from optee_sides import ADD, LAB, REST, SEND, SHARED, SLEEP, WAIT

from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee import rpc
from ffabric.abi.optee.ffa import Return
from ffabric.abi.optee.message import Command, Message, Type, Value
from ffabric.abi.optee.tee import Result
from ffabric.guests.optee.error import TeeError


def invoke(session, command, *params):
    return Message(Command.INVOKE_COMMAND, command, session, params=params)


def waiting(tee, session=None, value=7):
    """A call that is suspended: it waits for a notification."""
    session = session or tee.driver.open_session(LAB)
    return tee.driver.begin(invoke(session, WAIT, Value(Type.VALUE_INPUT, value)))


def answer(tee, pending, ret=0):
    """Answer an RPC without doing anything for it."""
    pending.rpc.ret = ret
    tee.driver.respond(pending, pending.rpc)
    tee.driver.resume(pending)


def asked(pending):
    """What an RPC asks for."""
    return (rpc.Command(pending.rpc.command).name, *pending.rpc.params)


def test_a_suspended_call_says_what_it_wants(tee):
    pending = waiting(tee)
    assert pending.kind is Return.RPC_CMD
    assert asked(pending) == ("NOTIFICATION", Value(1, rpc.Notification.WAIT, 7))
    assert pending.rpc.ret == Result.GENERIC  # until it is answered
    answer(tee, pending)
    assert pending.kind is Return.DONE  # type: ignore[comparison-overlap]
    assert tee.driver.finish(pending).ret == 0


def test_an_rpc_that_fails_fails_in_the_ta(tee):
    pending = waiting(tee)
    answer(tee, pending, Result.TIMEOUT)
    message = tee.driver.finish(pending)
    assert (message.ret, message.ret_origin) == (Result.TIMEOUT, 2)


def test_there_are_so_many_threads(boot_tee):
    tee = boot_tee(threads=2)
    sessions = [tee.driver.open_session(LAB) for _ in range(3)]
    first, second = (waiting(tee, session) for session in sessions[:2])
    with pytest.raises(TeeError, match="BUSY, origin COMMS"):
        waiting(tee, sessions[2])
    assert tee.words(abi.EXCHANGE_CAPABILITIES)[0] == 0  # blocking calls take none
    answer(tee, first)
    third = waiting(tee, sessions[2])
    for pending in (second, third):
        answer(tee, pending)
        assert pending.kind is Return.DONE


def test_a_thread_is_resumed_once(tee):
    pending = waiting(tee)
    bad = (Result.BAD_PARAMETERS, 0, 0, 0, 0)
    assert tee.words(abi.YIELDING_CALL_RESUME, 0, 0, 0, pending.thread + 1) == bad
    answer(tee, pending)
    assert tee.words(abi.YIELDING_CALL_RESUME, 0, 0, 0, pending.thread) == bad


def test_the_normal_world_takes_its_interrupts(tee):
    session = tee.driver.open_session(LAB)
    pending = tee.driver.begin(invoke(session, REST))
    assert (pending.kind, pending.rpc) == (Return.INTERRUPT, None)
    tee.driver.resume(pending)
    assert pending.kind is Return.DONE
    tee.driver.finish(pending)
    tee.driver.invoke(session, REST)


def test_time_passes_in_the_normal_world(tee):
    session = tee.driver.open_session(LAB)
    clock = tee.system.system.machine.clock
    before = clock.now
    tee.driver.invoke(session, SLEEP, Value(Type.VALUE_INPUT, 2))
    assert clock.now - before >= 2_000_000


def test_a_wait_ends_in_time(tee):
    session = tee.driver.open_session(LAB)
    with pytest.raises(TeeError, match="TIMEOUT, origin COMMS"):
        tee.driver.invoke(session, WAIT, Value(Type.VALUE_INPUT, 9, 1))
    with pytest.raises(TeeError, match="BUSY, origin COMMS"):
        tee.driver.invoke(session, WAIT, Value(Type.VALUE_INPUT, 9))  # nobody else could act
    tee.driver.invoke(session, SEND, Value(Type.VALUE_INPUT, 9))
    tee.driver.invoke(session, WAIT, Value(Type.VALUE_INPUT, 9))


def test_a_second_call_in_a_session_waits_for_the_first(tee):
    session = tee.driver.open_session(LAB)
    first = waiting(tee, session)
    second = tee.driver.begin(invoke(session, ADD, Value(Type.VALUE_INOUT, 1)))
    mine = rpc.SYNC_VALUE_BASE + second.thread
    assert asked(second) == ("NOTIFICATION", Value(1, rpc.Notification.WAIT, mine))
    answer(tee, second, Result.BUSY)  # whatever the normal world says, it has to wait
    assert asked(second) == ("NOTIFICATION", Value(1, rpc.Notification.WAIT, mine))
    answer(tee, first)
    assert asked(first) == ("NOTIFICATION", Value(1, rpc.Notification.SEND, mine))
    answer(tee, first, Result.BUSY)
    assert first.kind is Return.DONE
    answer(tee, second)
    assert second.kind is Return.DONE
    assert tee.driver.finish(second).params[0].a == 1


def test_calls_of_two_sessions_wait_for_one_instance(tee):
    one, other = (tee.driver.open_session(SHARED) for _ in range(2))
    first = waiting(tee, one)
    second = tee.driver.begin(invoke(other, 0, Value(Type.VALUE_OUTPUT)))
    third = tee.driver.begin(Message(Command.CLOSE_SESSION, session=one))
    assert asked(second)[0] == asked(third)[0] == "NOTIFICATION"
    answer(tee, first)
    answer(tee, first)
    answer(tee, first)
    assert first.kind is Return.DONE
    answer(tee, second)
    assert second.kind is Return.DONE
    answer(tee, third)
    assert third.kind is Return.DONE


def test_who_waits_for_a_session_that_is_closed(tee):
    session = tee.driver.open_session(LAB)
    first = waiting(tee, session)
    closing = tee.driver.begin(Message(Command.CLOSE_SESSION, session=session))
    late = tee.driver.begin(invoke(session, ADD, Value(Type.VALUE_INOUT, 1)))
    also = tee.driver.begin(Message(Command.CLOSE_SESSION, session=session))
    answer(tee, first)  # its wait has ended
    answer(tee, first)  # who was waiting is told
    answer(tee, closing)
    answer(tee, closing)
    assert closing.kind is Return.DONE
    for pending, result in ((late, Result.BAD_PARAMETERS), (also, Result.ITEM_NOT_FOUND)):
        while pending.kind is not Return.DONE:
            answer(tee, pending)
        assert tee.driver.finish(pending).ret == result
