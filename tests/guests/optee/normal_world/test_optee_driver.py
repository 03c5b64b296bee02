"""The driver in Python VMs that run by themselves, and what it serves for OP-TEE."""

from typing import Any
from uuid import UUID

import pytest
from optee_sides import ADD, BORROW, COPY, LAB, REVERSE, SEND, SLEEP, WAIT, Lab

from ffabric.abi import psci
from ffabric.abi.ffa.version import V1_1, V1_2, V1_3
from ffabric.abi.optee.message import Empty, Fmem, Message, Type, Value, uuid_words
from ffabric.abi.optee.rpc import Command, Fs, Notification
from ffabric.abi.optee.tee import Origin, Result
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.normal_world.driver import NULL, Driver
from ffabric.guests.optee.normal_world.supplicant import Supplicant
from ffabric.guests.optee.tas.ta import TrustedApp
from ffabric.guests.partition import Partition
from ffabric.session.optee import BlockingDriver
from ffabric.system.description.python import sp, vm


class Alice(Partition):
    """Opens a session and invokes the TA with values and memory."""

    def __init__(self):
        super().__init__("alice")
        self.seen = []

    async def main(self, ffa):
        tee = Driver(ffa)
        found = await tee.probe()
        self.seen.append(found.version)
        session = await tee.open_session(LAB)
        (answer,) = await tee.invoke(session, ADD, Value(Type.VALUE_INOUT, 20))
        self.seen.append(answer.a)
        shm = await tee.allocate(32)
        shm.write(b"live")
        await tee.invoke(session, COPY, shm.input(4), shm.output(4, 8))
        await tee.invoke(session, REVERSE, shm.inout(4, 8))
        self.seen.append(shm.read(4, 8))
        await tee.free(shm)
        await tee.invoke(session, BORROW, Value(1, 9000, 0), Value(Type.VALUE_OUTPUT))
        await tee.invoke(session, SLEEP, Value(Type.VALUE_INPUT, 1))
        self.seen.append(await tee.devices())
        await tee.close_session(session)
        try:
            await tee.invoke(session, ADD)
        except TeeError as error:
            self.seen.append(error.result)


@pytest.mark.parametrize("version", [V1_1, V1_2, V1_3])
@pytest.mark.parametrize("vms", [0, 1])
def test_a_python_vm_uses_a_ta(ffabric, vms, version):
    alice = Alice()
    ffabric.boot(sps=[OpTee(Lab, vms=vms)], vms=[alice], ffa_version=version)
    assert alice.seen == [(4, 10), 20, b"evil", [LAB], Result.BAD_PARAMETERS]


class Crowd(Partition):
    """A VM whose vCPUs all call OP-TEE at once: more of them than OP-TEE has threads."""

    manifest = {"execution_ctx_count": 4}  # noqa: RUF012

    def __init__(self):
        super().__init__("crowd")
        self.state = None
        self.sums = {}

    async def main(self, ffa):
        index = ffa.vcpu.index
        if index == 0:
            tee = Driver(ffa)
            await tee.probe()
            self.state = tee.state
            for affinity in ffa.vcpu.affinities[1:]:
                await ffa.call(psci.CPU_ON_64, affinity, ffa.vcpu.entry, 0)
        tee = Driver(ffa, self.state)
        session = await tee.open_session(LAB)
        for turn in range(5):
            shm = await tee.allocate(100)
            shm.write(bytes([index, turn]))
            await tee.invoke(session, REVERSE, shm.inout(2))
            assert shm.read(2) == bytes([turn, index])
            await tee.free(shm)
            (answer,) = await tee.invoke(session, ADD, Value(Type.VALUE_INOUT, turn))
        self.sums[index] = answer.a
        event = 40 + index // 2
        command = SEND if index % 2 else WAIT  # vCPU 0 waits for 1, 2 for 3
        await tee.invoke(session, command, Value(Type.VALUE_INPUT, event))
        await tee.close_session(session)


@pytest.mark.parametrize("seed", [None, *range(6)])
@pytest.mark.parametrize("vcpus", [1, 4])
def test_many_vcpus_at_once(ffabric, seed, vcpus):
    crowd = Crowd()
    core = OpTee(Lab, threads=3, vms=1)
    given: dict[str, Any] = {"vcpus": 4} if vcpus == 4 else {}
    system = ffabric.boot(sps=[sp(core, **given)], vms=[crowd], pes=4, seed=seed)
    assert crowd.sums == dict.fromkeys(range(4), 10)
    (bank,) = core.banks.values()
    assert len(bank.sessions) == 0
    assert not [thread for thread in bank.threads.all if thread.program is not None]
    system.system.destroy_vm("crowd")
    system.run()
    assert not core.banks


@pytest.mark.parametrize("seed", range(8))
def test_a_vm_is_destroyed_while_all_its_vcpus_call(ffabric, seed):
    core = OpTee(Lab, threads=3, vms=2)
    system = ffabric.boot(sps=[sp(core, vcpus=4)], vms=[vm("other")], pes=4, seed=seed)
    system.system.create_vm(vm(Crowd()))
    machine = system.system.machine
    machine.clock.at(
        machine.clock.now + 100_000 + 37_000 * seed, lambda: system.system.destroy_vm("crowd")
    )
    system.run()
    assert len(core.banks) == 1
    assert not system.system.firmware.hypervisor.retried.orphans
    other = BlockingDriver(system.vm("other").ffa)
    other.probe()
    other.open_session(LAB)


class Asker(TrustedApp):
    """Makes the RPC that a test puts here."""

    uuid = UUID("5b1fa4b2-0001-4c4a-8d5c-52fd2b2b4d04")
    command = 0
    params = ()
    data: bytes | None
    answer: Any
    left: int

    async def invoke(self, session, command, params):
        thread = session.thread
        region = await thread.allocate(4096)
        region.write(thread.ffa.memory, 0, Asker.data)
        try:
            asked = [
                Fmem(p, 0, region.offset, command, region.cookie) if isinstance(p, int) else p
                for p in Asker.params
            ]
            Asker.answer = await thread.ask(Asker.command, asked)
            Asker.left = region.read(thread.ffa.memory, 0, 64)
        finally:
            await thread.free(region)


IN, OUT = Type.FMEM_INPUT, Type.FMEM_OUTPUT


@pytest.fixture
def ask(ffabric):
    """Let a TA make an RPC: its parameters as they came back, and what is in its memory then."""
    system = ffabric.boot(sps=[OpTee(Asker)], vms=["alice"])
    driver = BlockingDriver(system.vm("alice").ffa)
    driver.probe()
    session = driver.open_session(Asker.uuid)

    def make(command, *params, data=b"", size=64):
        Asker.command, Asker.params, Asker.data = command, params, data
        driver.invoke(session, size)
        return Asker.answer, Asker.left

    make.driver = driver  # type: ignore[attr-defined]
    return make


TA = UUID("5b1fa4b2-0001-4c4a-8d5c-52fd2b2b4dff")


@pytest.mark.parametrize("uuid", [TA, str(TA)])
def test_the_supplicant_loads_tas(ask, uuid):
    ask.driver.state.supplicant = Supplicant({uuid: b"a signed image"})
    named = Value(Type.VALUE_INPUT, *uuid_words(TA))
    (_, size), _ = ask(Command.LOAD_TA, named, NULL)
    assert size.size == 14
    (_, size), left = ask(Command.LOAD_TA, named, OUT)
    assert left[: size.size] == b"a signed image"
    with pytest.raises(TeeError, match="ITEM_NOT_FOUND, origin COMMS"):
        ask(Command.LOAD_TA, Value(Type.VALUE_INPUT), NULL)


def test_the_supplicant_keeps_files(ask):
    ask.driver.state.supplicant = supplicant = Supplicant()

    def fs(what, b=0, c=0, *more, data=b"", size=64):
        return ask(Command.FS, Value(Type.VALUE_INOUT, what, b, c), *more, data=data, size=size)

    def named(what, name):
        (_, _, number), _ = fs(what, 0, 0, IN, Value(Type.VALUE_OUTPUT), data=name + b"\0")
        return number.a

    with pytest.raises(TeeError, match="ITEM_NOT_FOUND"):
        named(Fs.OPEN, b"/1")
    number = named(Fs.CREATE, b"/1")
    fs(Fs.WRITE, number, 4, IN, data=b"0123", size=4)
    assert supplicant.files == {"/1": bytearray(b"\0\0\0\x000123")}
    again = named(Fs.OPEN, b"/1")
    (_, read), left = fs(Fs.READ, again, 6, OUT)
    assert left[: read.size] == b"23"
    fs(Fs.TRUNCATE, again, 5)
    (_, read), left = fs(Fs.READ, number, 0, OUT)
    assert left[: read.size] == b"\0\0\0\x000"
    fs(Fs.CLOSE, again)
    with pytest.raises(TeeError, match="BAD_PARAMETERS"):
        fs(Fs.READ, again, 0, OUT)
    listed = named(Fs.OPENDIR, b"/")
    (_, name), left = fs(Fs.READDIR, listed, 0, OUT)
    assert left[: name.size] == b"1\0"
    with pytest.raises(TeeError, match="ITEM_NOT_FOUND"):
        fs(Fs.READDIR, listed, 0, OUT)
    fs(Fs.CLOSEDIR, listed)
    fs(Fs.REMOVE, 0, 0, IN, data=b"/1\0")
    with pytest.raises(TeeError, match="ITEM_NOT_FOUND"):
        fs(Fs.REMOVE, 0, 0, IN, data=b"/1\0")
    with pytest.raises(TeeError, match="STORAGE_NO_SPACE"):
        fs(Fs.WRITE, number, 1 << 40, IN)
    with pytest.raises(TeeError, match="STORAGE_NO_SPACE"):
        fs(Fs.TRUNCATE, number, 1 << 40)


def test_files_are_renamed():
    supplicant = Supplicant(files={"a": bytearray(b"1"), "b": bytearray(b"2")})
    texts = iter(["a", "b"] * 2 + ["c", "d"])

    class Named:
        overwrite = 0

        def text(self, _):
            return next(texts)

        def value(self, _):
            return Value(0, Fs.RENAME, self.overwrite)

    with pytest.raises(TeeError, match="ACCESS_CONFLICT"):
        supplicant.fs(Named())  # type: ignore[arg-type]
    Named.overwrite = 1
    supplicant.fs(Named())  # type: ignore[arg-type]
    assert supplicant.files == {"b": b"1"}
    with pytest.raises(TeeError, match="ITEM_NOT_FOUND"):
        supplicant.fs(Named())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "params", "result"),
    [
        (Command.RPMB, [], Result.NOT_SUPPORTED),
        (Command.FS, [], Result.BAD_PARAMETERS),
        (Command.FS, [Value(Type.VALUE_INPUT, 99)], Result.BAD_PARAMETERS),
        (Command.FS, [Value(Type.VALUE_INPUT, Fs.OPEN)], Result.BAD_PARAMETERS),
        (Command.FS, [Value(1, Fs.OPEN), Fmem(IN, 0, 0, 8, 12345)], Result.BAD_PARAMETERS),
        (Command.LOAD_TA, [Fmem(IN)], Result.BAD_PARAMETERS),
        (Command.NOTIFICATION, [Value(Type.VALUE_INPUT, 2)], Result.BAD_PARAMETERS),
        (Command.NOTIFICATION, [Value(1, Notification.WAIT, 1, 1), Empty()], Result.BAD_PARAMETERS),
        (Command.SHM_FREE, [Value(Type.VALUE_INPUT, 0, 999)], Result.BAD_PARAMETERS),
        (Command.SHM_ALLOC, [Fmem(OUT)], Result.BAD_PARAMETERS),
    ],
)
def test_what_the_normal_world_refuses(ask, command, params, result):
    ask.driver.state.supplicant = Supplicant()
    with pytest.raises(TeeError) as caught:
        ask(command, *params)
    assert (caught.value.result, caught.value.origin) == (result, Origin.COMMS)


def test_without_a_supplicant(ask):
    with pytest.raises(TeeError, match="COMMUNICATION, origin COMMS"):
        ask(Command.FS, Value(Type.VALUE_INPUT, Fs.CLOSE))


def test_memory_that_optee_still_holds_is_not_freed(ask):
    shm = ask.driver.allocate(64)
    with pytest.raises(TeeError, match="BUSY, origin COMMS"):
        # the region that the RPC's own message lies in
        ask(Command.SHM_FREE, Value(Type.VALUE_INPUT, 0, ask.driver.state.slots[0][0].cookie))
    ask.driver.free(shm)


def test_a_message_with_too_many_parameters(ask):
    with pytest.raises(ValueError, match="12 parameters are too many"):
        ask.driver.begin(Message(0, params=[Empty()] * 12))
