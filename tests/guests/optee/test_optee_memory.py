"""Memory in two steps: shared and used; unregistered and reclaimed."""

import pytest
from optee_sides import BORROW, COPY, LAB, REVERSE, STRICT, TWICE, WAIT

from ffabric.abi.ffa.memory_words import PERM_DATA_RO
from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee import rpc
from ffabric.abi.optee.ffa import Return
from ffabric.abi.optee.message import NO_HANDLE, Command, Fmem, Message, Tmem, Type, Value
from ffabric.abi.optee.tee import Origin, Result
from ffabric.abi.words import MASK32
from ffabric.guests.errors import FfaError
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.memory import Region
from ffabric.guests.optee.normal_world.shm import NULL
from ffabric.system.vcpu import OutOfMemory


@pytest.fixture
def lab(tee):
    """A session with the TA, as a function that invokes it."""
    session = tee.driver.open_session(LAB)

    def invoke(command, *params):
        return tee.driver.invoke(session, command, *params)

    invoke.session = session  # type: ignore[attr-defined]
    return invoke


def test_a_ta_reads_and_writes_what_is_shared(tee, lab):
    shm = tee.driver.allocate(0x2345)
    shm.write(b"abc", 0x1FFE)
    (answer,) = lab(REVERSE, shm.inout(8, 0x1FFC))
    assert shm.read(8, 0x1FFC) == b"\0\0\0cba\0\0"
    assert answer.size == 8
    tee.driver.free(shm)
    assert shm.cookie not in tee.core.banks[0].memory.regions


def test_memory_is_retrieved_when_it_is_first_used(tee, lab):
    shm = tee.driver.allocate(16)
    assert shm.cookie not in tee.core.banks[0].memory.regions
    lab(REVERSE, shm.inout())
    assert tee.core.banks[0].memory.regions[shm.cookie].references == 0
    with pytest.raises(FfaError, match="DENIED"):
        tee.system.vm("alice").ffa.reclaim(shm.cookie)
    tee.driver.free(shm)


def test_memory_that_was_never_used_is_just_reclaimed(tee):
    shm = tee.driver.allocate(16)
    tee.driver.free(shm)


def test_memory_that_a_call_uses_is_not_unregistered(tee, lab):
    shm = tee.driver.allocate(16)
    params = [Value(Type.VALUE_INPUT, 7), shm.input()]
    pending = tee.driver.begin(Message(Command.INVOKE_COMMAND, WAIT, lab.session, params=params))
    with pytest.raises(TeeError, match="BUSY, origin COMMS"):
        tee.driver.free(shm)
    finish(tee, pending)
    tee.driver.free(shm)


def finish(tee, pending):
    """Tell OP-TEE that what it waits for has come, and let it end the call."""
    pending.rpc.ret = 0
    tee.driver.respond(pending, pending.rpc)
    tee.driver.resume(pending)
    assert pending.kind is Return.DONE
    return tee.driver.finish(pending)


def test_memory_that_begins_inside_a_page(tee, lab):
    alice = tee.system.vm("alice")
    ipa = alice.ram.allocate(3)
    alice.memory.write(ipa + 0x123, b"0123456789")
    shm = tee.driver.register(ipa + 0x123, 0x2000)
    assert (shm.pages, shm.internal_offset) == (3, 0x123)
    lab(REVERSE, shm.inout(10))
    assert alice.memory.read(ipa + 0x122, 12) == b"\0009876543210\0"
    tee.driver.free(shm)


def test_two_calls_agree_on_where_memory_begins(tee, lab):
    shm = tee.driver.allocate(0x2000)
    one, other = (Fmem(Type.FMEM_INPUT, 0, at, 8, shm.cookie) for at in (0, 8))
    wait = [Value(Type.VALUE_INPUT, 7), one]
    pending = tee.driver.begin(Message(Command.INVOKE_COMMAND, WAIT, lab.session, params=wait))  # type: ignore[arg-type]
    second = tee.driver.open_session(LAB)
    with pytest.raises(TeeError, match="BAD_PARAMETERS, origin TEE"):
        tee.driver.invoke(second, COPY, other, other)
    finish(tee, pending)
    tee.driver.invoke(second, COPY, other, Fmem(Type.FMEM_OUTPUT, 8, 8, 8, shm.cookie))


@pytest.mark.parametrize(
    ("param", "result"),
    [
        (lambda c: Fmem(Type.FMEM_INOUT, 0x1001, 0, 0x1000, c), Result.SECURITY),
        (lambda c: Fmem(Type.FMEM_INOUT, 0, 1, 0x2000, c), Result.SECURITY),
        (lambda c: Fmem(Type.FMEM_INOUT, 1 << 47, 0, (1 << 64) - 1, c), Result.SECURITY),
        (lambda c: Fmem(Type.FMEM_INOUT, 0, 0x1000, 8, c), Result.BAD_PARAMETERS),
        (lambda c: Fmem(Type.FMEM_INOUT, 0, 0, 8, c + 1000), Result.BAD_PARAMETERS),
        (lambda c: Fmem(Type.FMEM_INOUT, 0, 0, 8, NO_HANDLE), Result.BAD_PARAMETERS),
        (lambda c: Fmem(0x100 | Type.FMEM_INOUT, 0, 0, 8, c), Result.BAD_PARAMETERS),
        (lambda _: Tmem(Type.TMEM_INOUT, 0x8000_0000, 8, 0), Result.BAD_PARAMETERS),
    ],
)
def test_parameters_outside_of_what_is_shared(tee, lab, param, result):
    shm = tee.driver.allocate(0x2000)
    with pytest.raises(TeeError) as caught:
        lab(REVERSE, param(shm.cookie))
    assert (caught.value.result, caught.value.origin) == (result, Origin.TEE)
    tee.driver.free(shm)  # nobody holds it


def test_no_memory_at_all(tee, lab):
    shm = tee.driver.allocate(8)
    (empty,) = lab(REVERSE, Fmem(Type.FMEM_INOUT))
    assert empty.size == 0
    with pytest.raises(TeeError, match="SHORT_BUFFER, origin TRUSTED_APP") as caught:
        lab(COPY, shm.input(), NULL)
    assert [param.size for param in caught.value.params] == [8, 8]


def test_a_buffer_that_is_too_short(tee, lab):
    shm = tee.driver.allocate(32)
    with pytest.raises(TeeError, match="SHORT_BUFFER") as caught:
        lab(COPY, shm.input(10), shm.output(9, 16))
    assert caught.value.params[1].size == 10
    assert shm.read(9, 16) == bytes(9)


def test_memory_of_many_pieces(tee, lab):
    alice = tee.system.vm("alice")
    ipa = alice.ram.allocate(400)
    pieces = [(ipa + 0x1000 * page, 1) for page in range(399, 0, -2)]
    cookie = alice.ffa.share(to=tee.driver.found.endpoint, ranges=pieces)
    data = bytes(page % 251 for page in range(200)) * 4096
    for index, (at, _) in enumerate(pieces):
        alice.memory.write(at, data[index * 4096 : (index + 1) * 4096])
    size = 200 * 4096
    lab(REVERSE, Fmem(Type.FMEM_INOUT, 0, 0, size, cookie))
    assert b"".join(alice.memory.read(at, 4096) for at, _ in pieces) == data[::-1]
    assert tee.words(abi.UNREGISTER_SHM, cookie & MASK32, cookie >> 32)[0] == 0
    alice.ffa.reclaim(cookie)


def test_memory_that_may_not_be_written_is_not_retrieved(tee, lab):
    alice = tee.system.vm("alice")
    cookie = alice.ffa.share(
        to=tee.driver.found.endpoint, ipa=alice.ram.allocate(), permissions=PERM_DATA_RO
    )
    with pytest.raises(TeeError, match="BAD_PARAMETERS, origin TEE"):
        lab(REVERSE, Fmem(Type.FMEM_INOUT, 0, 0, 8, cookie))
    alice.ffa.reclaim(cookie)


def test_a_bank_does_not_keep_any_number_of_regions(tee, lab, monkeypatch):
    monkeypatch.setattr("ffabric.guests.optee.memory.MAX_REGIONS", 3)
    shms = [tee.driver.allocate(8) for _ in range(3)]
    lab(REVERSE, shms[0].inout())
    lab(REVERSE, shms[1].inout())
    with pytest.raises(TeeError, match="BAD_PARAMETERS"):
        lab(REVERSE, shms[2].inout())
    tee.driver.free(shms[0])
    lab(REVERSE, shms[2].inout())


@pytest.mark.parametrize("kind", [rpc.ShmType.APPL, rpc.ShmType.KERNEL])
def test_a_ta_borrows_memory(tee, lab, kind):
    before = len(tee.driver.state.memory)
    _, answer = lab(BORROW, Value(Type.VALUE_INPUT, 5000, kind), Value(Type.VALUE_OUTPUT))
    assert answer.a >= 5000
    assert len(tee.driver.state.memory) == before


@pytest.mark.parametrize(
    ("size", "kind", "result"),
    [
        (0xFFFF_FFFF, rpc.ShmType.APPL, Result.OUT_OF_MEMORY),
        (8, rpc.ShmType.GLOBAL, Result.BAD_PARAMETERS),
    ],
)
def test_a_ta_cannot_borrow(tee, lab, size, kind, result):
    with pytest.raises(TeeError) as caught:
        lab(BORROW, Value(Type.VALUE_INPUT, size, kind), Value(Type.VALUE_OUTPUT))
    assert (caught.value.result, caught.value.origin) == (result, Origin.COMMS)


@pytest.mark.parametrize(
    "answer",
    [
        [Value(Type.VALUE_INPUT, 0, 8, 8)],
        [Fmem(Type.FMEM_INPUT, 0, 0, 8, 1)],
        [Fmem(Type.FMEM_OUTPUT, 0, 0, 1 << 40, 0x7777)],
        [Fmem(Type.FMEM_OUTPUT, 0, 0x1000, 1 << 40, 1)],
        [Tmem(Type.TMEM_OUTPUT, 0x8000_0000, 5000, 1)],
        [Fmem(12, 0, 0, 0, 0)],
        [],
    ],
)
def test_the_normal_world_lends_what_is_no_memory(tee, lab, answer):
    params = [Value(Type.VALUE_INPUT, 5000, 0), Value(Type.VALUE_OUTPUT)]
    pending = tee.driver.begin(Message(Command.INVOKE_COMMAND, BORROW, lab.session, params=params))
    assert pending.rpc.command == rpc.Command.SHM_ALLOC
    answered = finish(tee, pending) if not answer else respond(tee, pending, answer)
    assert answered.ret in (Result.OUT_OF_MEMORY, Result.BAD_PARAMETERS)
    assert answered.ret_origin == Origin.COMMS


def respond(tee, pending, params):
    pending.rpc.params = params
    return finish(tee, pending)


def test_memory_that_is_too_small_is_not_borrowed(tee, lab):
    small = tee.driver.allocate(16)
    params = [Value(Type.VALUE_INPUT, 5000, 0), Value(Type.VALUE_OUTPUT)]
    pending = tee.driver.begin(Message(Command.INVOKE_COMMAND, BORROW, lab.session, params=params))
    lent = Fmem(Type.FMEM_OUTPUT, 0, 0, 5000, small.cookie)
    assert respond(tee, pending, [lent]).ret == Result.OUT_OF_MEMORY
    tee.driver.free(small)


def test_memory_that_changes_while_a_ta_looks_at_it(tee, lab):
    shm = tee.driver.allocate(16)
    params = [shm.input(), Value(Type.VALUE_OUTPUT)]
    for change, same in ((b"", 1), (b"x", 0)):
        message = Message(Command.INVOKE_COMMAND, TWICE, lab.session, params=params)
        pending = tee.driver.begin(message)
        assert pending.kind is Return.INTERRUPT
        shm.write(change)
        tee.driver.resume(pending)
        assert tee.driver.finish(pending).params[1].a == same


def test_a_message_that_changes_while_it_is_served(tee, lab):
    """OP-TEE answers the message that it read, whatever stands there meanwhile."""
    shm = tee.driver.allocate(16)
    message = Message(
        Command.INVOKE_COMMAND, TWICE, lab.session, params=[shm.input(), Value(Type.VALUE_OUTPUT)]
    )
    pending = tee.driver.begin(message)
    pending.shm.write(b"\xff" * pending.size, pending.at)
    tee.driver.resume(pending)
    left = pending.shm.read(pending.size, pending.at)
    assert left[20:28] == bytes(4) + (4).to_bytes(4, "little")
    assert left[:20] == b"\xff" * 20
    assert left[64 + 8 : 64 + 24] == (1).to_bytes(16, "little")
    assert left[32:64] == b"\xff" * 32


def test_shm_is_read_and_written_in_parts(tee):
    shm = tee.driver.allocate(10)
    shm.write(b"hello", 5)
    assert shm.read() == bytes(5) + b"hello"
    assert shm.read(at=5) == b"hello"


def test_memory_is_used_as_the_parameter_says(tee, lab):
    shm = tee.driver.allocate(8)
    for params in ((shm.output(), shm.output()), (shm.input(), shm.input())):
        with pytest.raises(TeeError, match="ACCESS_DENIED, origin TRUSTED_APP"):
            lab(STRICT, *params)


def test_memory_that_the_spmc_does_not_know_any_more(tee, lab):
    lines = []
    tee.system.system.listeners.append(lambda _, line: lines.append(line))
    shm = tee.driver.allocate(8)
    lab(REVERSE, shm.inout())

    async def relinquish(thread):
        await thread.ffa.relinquish(shm.cookie)

    tee.core.drivers.append(relinquish)
    tee.core.banks[0].notifier.started = True
    tee.driver.bottom_half()
    tee.driver.free(shm)
    assert lines == [
        f"E/TC: cookie {shm.cookie:#x} not relinquished: FFA_MEM_RELINQUISH: INVALID_PARAMETERS"
    ]


def test_regions_know_their_bounds():
    region = Region(1, [(0x1000, 0x1000), (0x8000, 0x1000)])
    region.offset = 0x10
    assert region.size == 0x1FF0
    with pytest.raises(ValueError, match="16 bytes lie outside of 8192"):
        list(region._pieces(0x1FE0, 0x20))
    assert list(region._pieces(0xFE0, 0x20)) == [(0x1FF0, 0x10), (0x8000, 0x10)]
    assert list(region._pieces(0x1FF0, 0)) == []


def test_more_memory_than_there_is(tee):
    for size in (1 << 32, (1 << 64) - 1):
        with pytest.raises(OutOfMemory):
            tee.driver.allocate(size)
