"""The twins of xtest's TAs do what its cases look at."""

import hashlib

import pytest

from ffabric.abi.optee.ffa import Return
from ffabric.abi.optee.message import Command as Call
from ffabric.abi.optee.message import Message, Type, Value
from ffabric.abi.optee.tee import Result
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.normal_world.shm import NULL
from ffabric.lab.xtest.apps import XtestOpTee, concurrent, crypt, invoke_tests
from ffabric.session.optee import BlockingDriver

pytest.importorskip("cryptography")

IN, OUT = Type.VALUE_INPUT, Type.VALUE_OUTPUT


class Client:
    def __init__(self, driver, ta):
        self.driver = driver
        self.session = driver.open_session(ta)
        self.memory = driver.allocate(1 << 14)

    def __call__(self, command, *params):
        return self.driver.invoke(self.session, command, *params)


@pytest.fixture
def client(ffabric):
    driver = BlockingDriver(ffabric.boot(sps=[XtestOpTee()], vms=["linux"]).vm("linux").ffa)
    driver.probe()
    return lambda ta: Client(driver, ta.uuid)


@pytest.fixture
def tests(client):
    return client(invoke_tests.InvokeTests)


def test_1001_op_tee_tests_itself(tests):
    tests(invoke_tests.Command.SELF_TESTS)
    tests(invoke_tests.Command.DT_DRIVER_TESTS)
    with pytest.raises(TeeError, match="NOT_SUPPORTED"):  # and the case goes on
        tests(12)


def test_1002_parameters_are_calculated_with(tests):
    data = bytes(each % 256 for each in range(1, (1 << 14) + 1))
    tests.memory.write(data)
    tests(invoke_tests.Command.PARAMS, tests.memory.inout())
    assert tests.memory.read(1) == bytes([sum(data) & 0xFF])
    (value,) = tests(invoke_tests.Command.PARAMS, Value(Type.VALUE_INOUT, 0xFFFF_FFFF, 2))
    assert value.a == 1
    for place in range(4):
        given = [Value(IN, 1 + each, 10) for each in range(3)]
        given.insert(place, Value(OUT))
        answer = tests(invoke_tests.Command.PARAMS, *given)[place]
        assert (answer.a, answer.b) == (6, 30)
    with pytest.raises(TeeError, match="BAD_PARAMETERS"):
        tests(invoke_tests.Command.PARAMS, Value(IN), Value(OUT))


def test_a_reference_to_no_memory(tests):
    tests(invoke_tests.Command.MEMREF_NULL, NULL.__class__(Type.FMEM_INOUT))
    with pytest.raises(TeeError, match="BAD_PARAMETERS"):
        tests(invoke_tests.Command.MEMREF_NULL, tests.memory.inout(8))


@pytest.mark.parametrize("part", invoke_tests.Part)
def test_1003_the_lock_excludes(tests, part):
    given = Value(IN, part), Value(OUT)
    pending = tests.driver.begin(
        Message(Call.INVOKE_COMMAND, invoke_tests.Command.MUTEX, tests.session, params=given)
    )
    assert pending.kind is Return.INTERRUPT  # with the lock
    second = tests.driver.open_session(invoke_tests.InvokeTests.uuid)
    other = tests.driver.begin(
        Message(
            Call.INVOKE_COMMAND, invoke_tests.Command.MUTEX, second,
            params=[Value(IN, invoke_tests.Part.READER), Value(OUT)],
        )
    )  # fmt: skip
    waits = other.kind is Return.RPC_CMD
    assert waits == (part is invoke_tests.Part.WRITER)
    third = tests.driver.open_session(invoke_tests.InvokeTests.uuid)
    with pytest.raises(TeeError, match="BAD_PARAMETERS"):
        tests.driver.invoke(third, invoke_tests.Command.MUTEX, Value(IN, 9), Value(OUT))


def test_1004_digests_and_ciphers(client):
    app = client(crypt.Crypt)
    plain = bytes(range(32))
    memory = app.memory
    memory.write(b"abc")
    app(crypt.Command.SHA256, memory.input(3), memory.output(32, 256))
    assert memory.read(32, 256) == hashlib.sha256(b"abc").digest()
    memory.write(plain)
    app(crypt.Command.AES256ECB_ENC, memory.input(32), memory.output(32, 256))
    assert memory.read(16, 256).hex() == "5a6e045708fb7196f02e553d02c3a692"
    app(crypt.Command.AES256ECB_DEC, memory.input(32, 256), memory.output(32, 512))
    assert memory.read(32, 512) == plain
    for size, room, result in (
        (31, 32, Result.BAD_PARAMETERS),
        (32, 16, Result.SHORT_BUFFER),
    ):
        with pytest.raises(TeeError) as caught:
            app(crypt.Command.AES256ECB_ENC, memory.input(size), memory.output(room, 256))
        assert caught.value.result == result
    with pytest.raises(TeeError, match="NOT_IMPLEMENTED"):
        app(1)


def work(app, command, *more):
    message = Message(
        Call.INVOKE_COMMAND, command, app.session,
        params=[app.memory.inout(4), Value(Type.VALUE_INOUT, 100), *more],
    )  # fmt: skip
    return app.driver.begin(message)


def finished(driver, pending):
    while pending.kind is Return.INTERRUPT:
        driver.resume(pending)
    return driver.finish(pending)


def test_1013_sessions_work_at_the_same_time(client):
    first, second = client(concurrent.Concurrent), client(concurrent.Concurrent)
    second.memory = first.memory
    first.memory.write(bytes(4))
    calls = [work(each, concurrent.Command.BUSY_LOOP) for each in (first, second)]
    counts = [finished(first.driver, each).params[1].b for each in calls]
    assert counts == [1, 2]
    assert first.memory.read(4) == bytes(4)


def test_1013_digests_while_others_do(client):
    app = client(concurrent.ConcurrentLarge)
    app.memory.write(b"abc", 64)
    given = app.memory.input(3, 64), app.memory.output(32, 128)
    assert finished(app.driver, work(app, concurrent.Command.SHA256, *given)).ret == 0
    assert app.memory.read(32, 128) == hashlib.sha256(b"abc").digest()
    with pytest.raises(TeeError, match="BAD_PARAMETERS"):
        app(9)
