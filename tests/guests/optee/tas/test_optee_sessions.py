"""Sessions with TAs: who is let in, what comes back, who is to blame."""

from types import coroutine
from uuid import UUID

import pytest
from optee_sides import (
    ADD,
    FAIL,
    LAB,
    LONE,
    MANY,
    PANIC,
    REFUSED,
    SHARED,
    STRICT,
    TIME,
    WAIT,
    WHO,
    WRONG,
    Lab,
)

from ffabric.abi.ffa.version import V1_1
from ffabric.abi.optee.ffa import Return
from ffabric.abi.optee.message import (
    META_VALUE,
    Command,
    Empty,
    Message,
    Type,
    Value,
    parse_header,
)
from ffabric.abi.optee.tee import Login, Origin, Result
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.normal_world.driver import meta
from ffabric.guests.optee.tas.devices import Command as DeviceCommand
from ffabric.session.optee import BlockingDriver

BOB = UUID("00000000-0000-0000-0000-00000000b0b0")


def failure(call, *args, **kwargs):
    """The result and the origin of a call that must fail."""
    with pytest.raises(TeeError) as caught:
        call(*args, **kwargs)
    return caught.value.result, caught.value.origin


def test_a_session_keeps_its_state(tee):
    first, second = tee.driver.open_session(LAB), tee.driver.open_session(LAB)
    assert first != second
    for session, sums in ((first, (3, 6)), (second, (3, 6))):
        for total in sums:
            (answer,) = tee.driver.invoke(session, ADD, Value(Type.VALUE_INOUT, 3, 9))
            assert (answer.a, answer.b) == (total, 10)
    tee.driver.close_session(first)
    assert failure(tee.driver.invoke, first, ADD) == (Result.BAD_PARAMETERS, Origin.TEE)
    tee.driver.invoke(second, ADD, Value(Type.VALUE_INOUT))


def test_values_have_32_bits_and_c_is_not_the_tas(tee):
    session = tee.driver.open_session(LAB)
    (answer,) = tee.driver.invoke(session, ADD, Value(Type.VALUE_INOUT, 1 << 40 | 5, 1 << 32, 77))
    assert (answer.a, answer.b, answer.c) == (5, 1, 77)


def test_parameters_of_a_call_that_reaches_no_ta(tee):
    wide = Value(Type.VALUE_INOUT, 1 << 40, 1 << 50)
    with pytest.raises(TeeError) as caught:
        tee.driver.invoke(99, ADD, wide)
    assert caught.value.params == [wide]
    with pytest.raises(TeeError) as caught:
        tee.driver.open_session(BOB, wide)
    assert caught.value.params == [Value(Type.VALUE_INOUT, 0, 0)]  # as OP-TEE does it


def test_an_rpc_has_four_parameters_at_most(tee):
    session = tee.driver.open_session(LAB)
    bad = (Result.BAD_PARAMETERS, Origin.TEE)
    assert failure(tee.driver.invoke, session, MANY) == bad


def test_a_ta_that_there_is_not(tee):
    assert failure(tee.driver.open_session, BOB) == (Result.ITEM_NOT_FOUND, Origin.TEE)


def test_what_a_ta_refuses_comes_from_the_ta(tee):
    refused = (REFUSED, Origin.TRUSTED_APP)
    assert failure(tee.driver.open_session, LAB, Value(Type.VALUE_INPUT, 13)) == refused
    session = tee.driver.open_session(LAB)
    assert failure(tee.driver.invoke, session, FAIL) == refused
    assert len(tee.core.banks[0].sessions) == 1


def test_parameters_that_the_ta_does_not_take(tee):
    session = tee.driver.open_session(LAB)
    bad = (Result.BAD_PARAMETERS, Origin.TRUSTED_APP)
    assert failure(tee.driver.invoke, session, ADD) == bad
    assert failure(tee.driver.invoke, session, ADD, Value(Type.VALUE_INPUT)) == bad
    two = [Value(Type.VALUE_INOUT), Value(Type.VALUE_INPUT)]
    assert failure(tee.driver.invoke, session, ADD, *two) == bad


def test_who_the_client_is(tee):
    for login, name, seen in (
        (Login.USER, BOB, 0xB0B0),
        (Login.PUBLIC, BOB, 0),
        (Login.REE_KERNEL, BOB, 0),
    ):
        session = tee.driver.open_session(LAB, login=login, client=name)
        (answer,) = tee.driver.invoke(session, WHO, Value(Type.VALUE_OUTPUT))
        assert (answer.a, answer.b) == (login, seen)
        tee.driver.close_session(session)


@pytest.mark.parametrize(
    "params",
    [
        [],
        meta(LAB)[:1],
        [Value(Type.VALUE_INPUT, 1, 2), Value(META_VALUE)],
        [Value(META_VALUE, 1, 2), Value(META_VALUE, 0, 0, 3)],
        [Empty(), Empty()],
        [*meta(LAB), Value(META_VALUE)],
        [*meta(LAB), *[Empty()] * 5],
    ],
)
def test_how_a_session_is_not_opened(tee, params):
    assert raw(tee, Message(Command.OPEN_SESSION, session=5, params=params)) == (
        0,
        Result.BAD_PARAMETERS,
        Origin.TEE,
    )


def raw(tee, message):
    """Session, result and origin of a message that may be anything."""
    answer = tee.driver.call(message)
    return answer.session, answer.ret, answer.ret_origin


def test_what_close_and_cancel_take(tee):
    session = tee.driver.open_session(LAB)
    bad = (Result.BAD_PARAMETERS, Origin.TEE)
    for command in (Command.CLOSE_SESSION, Command.CANCEL):
        assert raw(tee, Message(command, session=session, params=[Empty()]))[1:] == bad
    assert failure(tee.driver.close_session, 99) == (Result.ITEM_NOT_FOUND, Origin.TEE)
    assert failure(tee.driver.cancel, 99) == bad
    assert raw(tee, Message(Command.CANCEL, session=session))[1:] == (0, Origin.TEE)
    assert raw(tee, Message(Command.CLOSE_SESSION, session=session))[1:] == (0, Origin.TEE)


@pytest.mark.parametrize("command", [Command.REGISTER_SHM, Command.LEND_PROTMEM, 12, 0xFFFFFFFF])
def test_commands_that_there_are_not_over_ffa(tee, command):
    assert failure(tee.driver.call, Message(command)) == (Result.NOT_IMPLEMENTED, Origin.COMMS)


def test_a_ta_that_panics_serves_nobody_any_more(tee):
    lines = []
    tee.system.system.listeners.append(lambda name, line: lines.append((name, line)))
    session, other = tee.driver.open_session(LAB), tee.driver.open_session(LAB)
    dead = (Result.TARGET_DEAD, Origin.TEE)
    assert failure(tee.driver.invoke, session, PANIC) == dead
    assert lines == [("optee", f"E/TC: TA {LAB} panicked: RuntimeError: no more")]
    assert failure(tee.driver.invoke, session, ADD) == dead
    tee.driver.invoke(other, ADD, Value(Type.VALUE_INOUT))  # another instance
    tee.driver.close_session(session)


class StillBorn(Lab):
    """A TA that cannot be made."""

    uuid = BOB

    def __init__(self):
        raise KeyError("nothing there")


def test_a_ta_that_cannot_be_made(ffabric):
    system = ffabric.boot(sps=[OpTee(Lab, StillBorn)], vms=["alice"])
    driver = BlockingDriver(system.vm("alice").ffa)
    driver.probe()
    assert failure(driver.open_session, BOB) == (Result.TARGET_DEAD, Origin.TEE)
    driver.open_session(LAB)


@coroutine
def elsewhere():
    """Something to wait for that is not OP-TEE's."""
    yield "tomorrow"


class Astray(Lab):
    """A TA that waits for something else."""

    uuid = BOB

    async def invoke(self, session, command, params):
        await elsewhere()


def test_a_ta_that_waits_for_something_else_panics(ffabric):
    lines = []
    system = ffabric.boot(sps=[OpTee(Astray)], vms=["alice"])
    system.system.listeners.append(lambda _, line: lines.append(line))
    driver = BlockingDriver(system.vm("alice").ffa)
    driver.probe()
    session = driver.open_session(BOB)
    assert failure(driver.invoke, session, 0) == (Result.TARGET_DEAD, Origin.TEE)
    assert lines[0].endswith("TypeError: nothing in OP-TEE ends a wait for 'tomorrow'")


class Clinging(Lab):
    """A TA that does not let its client go."""

    uuid = BOB

    async def close_session(self, session):
        raise TeeError(Result.BUSY)


def test_a_session_ends_whatever_the_ta_says(ffabric):
    core = OpTee(Clinging)
    system = ffabric.boot(sps=[core], vms=["alice"])
    driver = BlockingDriver(system.vm("alice").ffa)
    driver.probe()
    driver.close_session(driver.open_session(BOB))
    assert len(core.banks[0].sessions) == 0


def test_a_panic_without_a_console(ffabric):
    system = ffabric.boot(sps=[OpTee(Lab)], vms=["alice"], ffa_version=V1_1)
    driver = BlockingDriver(system.vm("alice").ffa)
    driver.probe()
    session = driver.open_session(LAB)
    assert failure(driver.invoke, session, PANIC) == (Result.TARGET_DEAD, Origin.TEE)
    driver.close_session(session)


def test_a_ta_that_answers_with_nonsense_panics(tee):
    session = tee.driver.open_session(LAB)
    dead = (Result.TARGET_DEAD, Origin.TEE)
    assert failure(tee.driver.invoke, session, WRONG, Value(Type.VALUE_OUTPUT)) == dead


def test_one_instance_for_one_session(tee):
    session = tee.driver.open_session(LONE)
    assert failure(tee.driver.open_session, LONE) == (Result.BUSY, Origin.TEE)
    assert failure(tee.driver.invoke, session, 0) == (Result.NOT_SUPPORTED, Origin.TRUSTED_APP)
    tee.driver.close_session(session)
    tee.driver.close_session(tee.driver.open_session(LONE))


def test_one_instance_for_all_sessions_that_stays(tee):
    def opened(session):
        return tee.driver.invoke(session, 0, Value(Type.VALUE_OUTPUT))[0].a

    first, second = tee.driver.open_session(SHARED), tee.driver.open_session(SHARED)
    assert opened(first) == opened(second) == 2
    tee.driver.close_session(first)
    tee.driver.close_session(second)
    third = tee.driver.open_session(SHARED)
    assert opened(third) == 3
    assert failure(tee.driver.invoke, third, PANIC) == (Result.TARGET_DEAD, Origin.TEE)
    assert opened(tee.driver.open_session(SHARED)) == 1


def test_a_call_is_cancelled(tee):
    session = tee.driver.open_session(LAB)
    message = Message(Command.INVOKE_COMMAND, WAIT, session, params=[Value(Type.VALUE_INPUT, 7)])
    pending = tee.driver.begin(message)
    assert pending.kind is Return.RPC_CMD
    tee.driver.cancel(session)
    answer = pending.rpc
    answer.ret = 0
    tee.driver.respond(pending, answer)
    tee.driver.resume(pending)
    assert tee.driver.finish(pending).ret == Result.CANCEL


def test_the_normal_worlds_time(tee):
    session = tee.driver.open_session(LAB)
    (answer,) = tee.driver.invoke(session, TIME, Value(Type.VALUE_OUTPUT))
    assert answer.a == 0
    assert 0 < answer.b < 1_000_000_000


def test_ids_go_on_and_come_round(tee):
    sessions = tee.core.banks[0].sessions
    first = tee.driver.open_session(LAB)
    sessions._last = 0xFFFF_FFFE
    assert tee.driver.open_session(LAB) == 0xFFFF_FFFF
    assert tee.driver.open_session(LAB) == first + 1


def test_too_many_sessions(tee, monkeypatch):
    monkeypatch.setattr("ffabric.guests.optee.tas.sessions.MAX_SESSIONS", 2)
    for _ in range(2):
        tee.driver.open_session(LAB)
    assert failure(tee.driver.open_session, LAB) == (Result.OUT_OF_MEMORY, Origin.TEE)


def test_devices_of_the_tee_bus(tee):
    assert tee.driver.devices() == [LAB]
    assert tee.driver.devices(DeviceCommand.GET_DEVICES_SUPP) == []
    refused = (Result.NOT_IMPLEMENTED, Origin.TRUSTED_APP)
    assert failure(tee.driver.devices, 2) == refused


def test_a_value_is_no_memory_and_memory_no_value(tee):
    session = tee.driver.open_session(LAB)
    shm = tee.driver.allocate(8)
    bad = (Result.BAD_PARAMETERS, Origin.TRUSTED_APP)
    assert failure(tee.driver.invoke, session, WHO, shm.inout()) == bad
    assert failure(tee.driver.invoke, session, STRICT, *[Value(Type.VALUE_INOUT)] * 2) == bad
    tee.driver.free(shm)


def test_parameters_of_no_type(tee):
    for command, first in ((Command.OPEN_SESSION, 12), (Command.INVOKE_COMMAND, 4)):
        pending = tee.driver.begin(Message(command, params=[Empty(first), Empty()]))
        answer = parse_header(pending.shm.read(pending.size, pending.at))
        assert (answer.ret, answer.ret_origin) == (Result.BAD_PARAMETERS, Origin.TEE)
