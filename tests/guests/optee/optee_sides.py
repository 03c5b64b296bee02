"""TAs for tests."""

from uuid import UUID

from ffabric.abi.optee.message import Empty, Type
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.tas.ta import Enumerated, TrustedApp

LAB = UUID("5b1fa4b2-0001-4c4a-8d5c-52fd2b2b4d01")
LONE = UUID("5b1fa4b2-0001-4c4a-8d5c-52fd2b2b4d02")
SHARED = UUID("5b1fa4b2-0001-4c4a-8d5c-52fd2b2b4d03")

(
    ADD,
    REVERSE,
    COPY,
    WAIT,
    SEND,
    BORROW,
    PANIC,
    FAIL,
    TIME,
    SLEEP,
    REST,
    TWICE,
    WHO,
    WRONG,
    STRICT,
    MANY,
) = range(16)
REFUSED = 0x8000_0042
"""A result of the TA's own."""


class Lab(TrustedApp):
    """Does one thing for each command."""

    uuid = LAB
    enumerated = Enumerated.AT_BOOT

    async def open_session(self, session, params):
        session.context = 0
        if params[0] is not None and params.value(0).a == 13:
            raise TeeError(REFUSED)

    async def invoke(self, session, command, params):
        await COMMANDS[command](session, params)


async def add(session, params):
    params.expect(Type.VALUE_INOUT)
    session.context += params[0].a
    params[0].a = session.context
    params[0].b += 1


async def reverse(session, params):
    params.expect(Type.FMEM_INOUT)
    params[0].write(params[0].read()[::-1])


async def copy(session, params):
    params.expect(Type.FMEM_INPUT, Type.FMEM_OUTPUT)
    params[1].write(params[0].read())


async def wait(session, params):
    await session.thread.wait(params.value(0).a, params.value(0).b)
    if session.cancelled:
        raise TeeError(0xFFFF0002)


async def send(session, params):
    await session.thread.send(params.value(0).a)


async def borrow(session, params):
    """Write into memory of the normal world and read it back."""
    thread = session.thread
    region = await thread.allocate(params.value(0).a, params.value(0).b)
    region.write(thread.ffa.memory, region.size - 5, b"hello")
    assert region.read(thread.ffa.memory, region.size - 5, 5) == b"hello"
    params.value(1).a = region.size
    await thread.free(region, params.value(0).b)


async def panic(session, params):
    raise RuntimeError("no more")


async def fail(session, params):
    raise TeeError(REFUSED)


async def time(session, params):
    params.value(0).a, params.value(0).b = await session.thread.time()


async def sleep(session, params):
    await session.thread.sleep(params.value(0).a)


async def rest(session, params):
    await session.thread.interrupted()


async def twice(session, params):
    """Read the same memory twice, with the normal world running in between."""
    first = params.memref(0).read()
    await session.thread.interrupted()
    params.value(1).a = int(first == params.memref(0).read())


async def who(session, params):
    params.value(0).a = session.client.login
    params.value(0).b = session.client.uuid.int & 0xFFFF


async def wrong(session, params):
    """What a TA may not do with its parameters."""
    params.value(0).a = "text"


async def strict(session, params):
    """Read the first, write the second."""
    params.memref(1).write(params.memref(0).read())


async def many(session, params):
    """Ask the normal world for too much."""
    await session.thread.ask(0, [Empty()] * 5)


COMMANDS = dict(
    enumerate(
        [
            add,
            reverse,
            copy,
            wait,
            send,
            borrow,
            panic,
            fail,
            time,
            sleep,
            rest,
            twice,
            who,
            wrong,
            strict,
            many,
        ]
    )
)


class Lone(TrustedApp):
    """One instance, one session."""

    uuid = LONE
    single_instance = True


class Shared(TrustedApp):
    """One instance for all sessions, which stays; it counts them."""

    uuid = SHARED
    single_instance = True
    multi_session = True
    keep_alive = True

    def __init__(self):
        self.opened = 0

    async def open_session(self, session, params):
        self.opened += 1

    async def invoke(self, session, command, params):
        if command:
            await COMMANDS[command](session, params)
        else:
            params.value(0).a = self.opened
