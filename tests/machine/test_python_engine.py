"""What Python software may do wrong is its own crash."""

import asyncio

import pytest

from ffabric.machine import exits
from ffabric.machine.context import Context
from ffabric.machine.engines.python import PythonRunner, Spinning


def exits_of(program, times=1):
    """The exits of a program, and its context."""
    ctx = Context("guest.0", 0, secure=False)
    runner = PythonRunner(ctx, lambda runner, entry, x0: program(ctx))
    runner.start(0, 0)
    seen = []

    def trap(_, exit_):
        seen.append(exit_)
        return len(seen) < times

    runner.run(ctx, trap)
    runner.close()
    return seen, ctx


async def raises(ctx):
    raise KeyError("a key")


async def spins(ctx):
    raise Spinning("no exit within 1 s")


async def sleeps(ctx):
    await asyncio.sleep(0)


def writes(*values):
    async def program(ctx):
        ctx.x[:] = values
        await Call()

    return program


class Call:
    def __await__(self):
        yield exits.SMC


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (raises, "KeyError: 'a key'"),
        (spins, "Spinning: no exit within 1 s"),
        (sleeps, "awaited None, which is no call"),
        (writes(*[0] * 17), "x0 to x17 are not 18 integers of 64 bits: "),
        (writes(*[0] * 17, 1 << 64), "x0 to x17 are not 18 integers of 64 bits: "),
        (writes(*[0] * 17, -1), "x0 to x17 are not 18 integers of 64 bits: "),
        (writes(*[0] * 17, "text"), "x0 to x17 are not 18 integers of 64 bits: "),
    ],
)
def test_a_crash_says_what_it_was(program, reason):
    seen, ctx = exits_of(program)
    assert seen == [exits.CRASH]
    assert ctx.crash.startswith(reason)
    assert len(ctx.x) == 18


def test_a_program_that_has_ended_idles_for_ever():
    async def ends(ctx):
        await Call()

    seen, ctx = exits_of(ends, times=4)
    assert seen == [exits.SMC, exits.IDLE, exits.IDLE, exits.IDLE]
    assert not ctx.crash


def test_what_a_closed_program_raises_concerns_nobody():
    async def clings(ctx):
        try:
            await Call()
        finally:
            raise ValueError("not yet")

    seen, _ = exits_of(clings)
    assert seen == [exits.SMC]
