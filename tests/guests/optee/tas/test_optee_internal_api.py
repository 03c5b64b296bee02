"""What a TA may ask of OP-TEE: random numbers, time, properties, whether it is cancelled; locks."""

from typing import Any
from uuid import UUID

import pytest

from ffabric.abi.optee.ffa import Return
from ffabric.abi.optee.message import Command, Message, Type, Value
from ffabric.abi.optee.tee import Login, Result
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.locks import Mutex
from ffabric.guests.optee.normal_world import rpc
from ffabric.guests.optee.tas.rng import Generator
from ffabric.guests.optee.tas.ta import Identity, TrustedApp
from ffabric.session.optee import BlockingDriver

ASKER = UUID("5b1fa4b2-0001-4c4a-8d5c-52fd2b2b4d11")
KEEPER = UUID("5b1fa4b2-0001-4c4a-8d5c-52fd2b2b4d12")


class Asker(TrustedApp):
    """Does what `ask` says, with its session; it may return two words."""

    uuid = ASKER
    ask: Any = None

    async def invoke(self, session, command, params):
        result = Asker.ask(session)
        params.value(0).a, params.value(0).b = (
            await result if hasattr(result, "__await__") else result
        ) or (0, 0)


class Keeper(TrustedApp):
    """Keeps a lock over an interrupt, among others or alone; says who had it then."""

    uuid = KEEPER
    single_instance = True
    multi_session = True
    concurrent = True

    def __init__(self):
        self.lock = Mutex()
        self.inside = 0

    async def invoke(self, session, command, params):
        reads, thread = command, session.thread
        await (self.lock.lock_to_read if reads else self.lock.lock)(thread)
        self.inside += 1
        params.value(0).a = self.inside
        await thread.interrupted()
        params.value(0).b = self.inside
        self.inside -= 1
        await (self.lock.unlock_after_reading if reads else self.lock.unlock)(thread)


class Place:
    def __init__(self, ffabric, **given):
        self.system = ffabric.boot(sps=[OpTee(Asker, Keeper, **given)], vms=["alice"])
        self.driver = BlockingDriver(self.system.vm("alice").ffa)
        self.driver.probe()
        self.session = self.driver.open_session(ASKER)

    def ask(self, what, session=None):
        Asker.ask = staticmethod(what)
        (value,) = self.driver.invoke(session or self.session, 0, Value(Type.VALUE_INOUT))
        return value.a, value.b

    def begin(self, ta_session, command, a=0):
        message = Message(
            Command.INVOKE_COMMAND, command, ta_session, params=[Value(Type.VALUE_INOUT, a)]
        )
        return self.driver.begin(message)


@pytest.fixture
def place(ffabric):
    return Place(ffabric)


def words(data):
    return int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little")


def test_random_numbers_differ_in_a_run_and_are_the_same_in_the_next(ffabric, place):
    first = [place.ask(lambda session: words(session.random(8))) for _ in range(3)]
    assert len(set(first)) == 3
    again = Place(ffabric)
    assert [again.ask(lambda session: words(session.random(8))) for _ in range(3)] == first
    other = Place(ffabric, seed=b"another")
    assert other.ask(lambda session: words(session.random(8))) != first[0]


def test_the_generator_is_hmac_drbg():
    # NIST CAVP, HMAC_DRBG, SHA-256 without prediction resistance or reseeding, COUNT = 0
    entropy = bytes.fromhex("ca851911349384bffe89de1cbdc46e6831e44d34a4fb935ee285dd14b71a7488")
    nonce = bytes.fromhex("659ba96c601dc69fc902940805ec0ca8")
    generator = Generator(entropy + nonce)
    generator.random(128)
    assert generator.random(128).hex() == (
        "e528e9abf2dece54d47c7e75e5fe302149f817ea9fb4bee6f4199697d04d5b89"
        "d54fbb978a15b5c443c9ec21036d2460b6f73ebad0dc2aba6e624abf07745bc1"
        "07694bb7547bb0995f70de25d6b29e2d3011bb19d27676c07162c8b5ccde0668"
        "961df86803482cb37ed6d5c0bb8d50cf1f50d476aa0458bdaba806f48be9dcb8"
    )


def test_time_passes_in_a_wait(place):
    async def waits(session):
        before = session.system_time()
        await session.wait(120)
        return session.system_time() - before, 0

    assert place.ask(waits)[0] >= 120


def test_a_tas_own_time_is_what_it_says_it_is(place):
    with pytest.raises(TeeError, match="TIME_NOT_SET"):
        place.ask(lambda session: (session.persistent_time(), 0))
    place.ask(lambda session: session.set_persistent_time(1_000_000))
    other = place.driver.open_session(ASKER)  # another session of the same TA
    assert (
        1_000_000 <= place.ask(lambda session: (session.persistent_time(), 0), other)[0] < 1_010_000
    )


@pytest.mark.parametrize("cancellable", [True, False])
def test_a_wait_that_is_cancelled(place, cancellable):
    async def waits(session):
        session.cancellable = cancellable
        await session.wait(120)

    Asker.ask = staticmethod(waits)
    pending = place.begin(place.session, 0)
    assert pending.kind is Return.RPC_CMD  # it sleeps
    place.driver.cancel(place.session)
    while pending.rpc is not None:
        slept = place.driver.drive(rpc.serve(place.driver.calls, pending.rpc))
        place.driver.respond(pending, slept)
        place.driver.resume(pending)
    assert place.driver.finish(pending).ret == (Result.CANCEL if cancellable else 0)


def test_properties(place):
    seen = {}

    def looks(session):
        seen.update(session.properties)

    place.ask(looks)
    assert seen["gpd.client.identity"] == Identity(Login.PUBLIC, UUID(int=0))
    assert seen["gpd.ta.appID"] == ASKER
    assert seen["gpd.tee.apiversion"] == "GP 1.3.1"
    device = seen["gpd.tee.deviceID"]
    place.ask(looks)
    assert seen["gpd.tee.deviceID"] == device


def overlap(place, *reads):
    """Calls that keep the lock, begun one after the other; what each has seen, by its end."""
    sessions = [place.driver.open_session(KEEPER) for _ in reads]
    pending = [place.begin(session, read) for session, read in zip(sessions, reads, strict=True)]
    seen, waiting, sent = {}, list(range(len(reads))), set()
    while waiting:
        number = waiting.pop(0)
        each = pending[number]
        if each.kind is Return.DONE:
            (value,) = place.driver.finish(each).params
            seen[number] = value.a, value.b
            continue
        if each.rpc is not None:
            wanted = each.rpc.params[0]
            if wanted.a == 1:
                sent.add(wanted.b)
            elif wanted.b not in sent:
                waiting.append(number)  # nobody has told it to go on
                continue
            else:
                sent.discard(wanted.b)
            each.rpc.ret = 0
            place.driver.respond(each, each.rpc)
        place.driver.resume(each)
        waiting.append(number)
    return seen


def test_readers_have_a_lock_together(place):
    assert overlap(place, True, True) == {0: (1, 2), 1: (2, 1)}


def test_a_writer_has_a_lock_alone(place):
    assert overlap(place, False, False) == {0: (1, 1), 1: (1, 1)}
    assert overlap(place, True, False) == {0: (1, 1), 1: (1, 1)}
    assert overlap(place, False, True, True)[0] == (1, 1)


def test_a_writer_that_waits_for_readers_has_its_turn(place):
    assert set(overlap(place, True, True, False, True)) == {0, 1, 2, 3}
