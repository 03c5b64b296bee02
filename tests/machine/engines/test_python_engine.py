"""What Python software may do wrong is its own crash."""

import asyncio
import signal
import sys

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


async def leaves(ctx):
    sys.exit(3)


async def gives_up(ctx):
    raise KeyboardInterrupt


async def closes(ctx):
    raise GeneratorExit


class Unspeakable(Exception):  # noqa: N818
    def __str__(self):
        raise ValueError("no words")


async def cannot_be_told(ctx):
    raise Unspeakable


class Unshowable:
    def __repr__(self):
        sys.exit(4)


class Wrong:
    def __await__(self):
        yield Unshowable()


async def awaits_the_unshowable(ctx):
    await Wrong()


async def awaits_a_list(ctx):
    await Listed()


class Listed:
    def __await__(self):
        yield []


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
        (leaves, "SystemExit: 3"),
        (gives_up, "KeyboardInterrupt"),
        (closes, "GeneratorExit"),
        (cannot_be_told, "Unspeakable, whose text raises ValueError"),
        (awaits_the_unshowable, "SystemExit: 4"),
        (awaits_a_list, "TypeError: unhashable type: 'list'"),
        (sleeps, "awaited None, which is not a call"),
        (writes(*[0] * 17), "17 registers: a call has x0 to x17"),
        (writes(*[0] * 17, 1 << 64), "x17 is 0x10000000000000000, no unsigned integer"),
        (writes(*[0] * 17, -1), "x17 is -0x1, no unsigned integer of 64 bits"),
        (writes(*[0] * 17, "text"), "x17 is of type str, no unsigned integer of 64 bits"),
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


@pytest.mark.parametrize("last_word", [ValueError("not yet"), SystemExit(5), KeyboardInterrupt()])
def test_what_a_closed_program_raises_concerns_nobody(last_word):
    async def clings(ctx):
        try:
            await Call()
        finally:
            raise last_word

    seen, _ = exits_of(clings)
    assert seen == [exits.SMC]


@pytest.mark.parametrize("made", [None, 7, "text"])
def test_what_is_no_coroutine_is_a_crash(made):
    seen, ctx = exits_of(lambda ctx: made)
    assert seen == [exits.CRASH]
    assert ctx.crash == f"TypeError: {made!r} is not a coroutine: is `async def` missing?"


def test_a_program_that_cannot_begin_has_crashed():
    def breaks(ctx):
        raise SystemExit(6)

    seen, ctx = exits_of(breaks)
    assert seen == [exits.CRASH]
    assert ctx.crash == "SystemExit: 6"


def test_what_a_program_raised_is_kept():
    ctx = Context("guest.0", 0, secure=False)
    runner = PythonRunner(ctx, lambda runner, entry, x0: raises(ctx))
    runner.start(0, 0)
    assert runner.error is None
    runner.run(ctx, lambda *_: False)
    assert isinstance(runner.error, KeyError)


def interrupt_by_a_function(number, frame):
    raise KeyboardInterrupt


@pytest.mark.parametrize("handler", [signal.default_int_handler, interrupt_by_a_function])
def test_an_interrupt_from_the_terminal_goes_through(handler):
    async def busy(ctx):
        signal.raise_signal(signal.SIGINT)

    former = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            exits_of(busy)
    finally:
        signal.signal(signal.SIGINT, former)


def test_an_interrupt_that_a_program_passes_on_is_its_crash():
    async def passes_on(ctx):
        try:
            await gives_up(ctx)
        finally:
            ctx.x[1] = 1

    seen, ctx = exits_of(passes_on)
    assert seen == [exits.CRASH]
    assert ctx.crash == "KeyboardInterrupt"


def interrupted(handled, times):
    """A program whose handler ends `times` times with its line asserted; the exits it makes."""
    ctx = Context("guest.0", 0, secure=False)

    async def program():
        await Call()
        await Call()

    async def handler():
        handled.append(list(ctx.x))
        ctx.x[:] = [7] * 18
        await Call()
        if len(handled) > times:
            runner.interrupt(0, asserted=False)

    runner = PythonRunner(ctx, lambda runner, entry, x0: program())
    runner.start(0, 0)
    runner.on_interrupt = lambda kind: handler()
    seen = []

    def trap(_, exit_):
        if exit_ == exits.SLICE:  # the machine looks at the GIC
            return True
        seen.append(exit_)
        if len(seen) == 1:
            ctx.x[:] = [5] * 18
            runner.interrupt(0, asserted=True)
        return exit_ == exits.SMC

    runner.run(ctx, trap)
    runner.close()
    return seen, ctx


def test_a_handler_runs_again_while_an_interrupt_is_pending():
    handled = []
    seen, ctx = interrupted(handled, 2)
    assert len(handled) == 3
    assert seen == [exits.SMC] * 5 + [exits.IDLE]
    assert ctx.x == [5] * 18  # the answer that the program waited for


def test_a_handler_that_never_ends_its_interrupt_is_a_crash():
    seen, ctx = interrupted([], 1_000)
    assert seen[-1] == exits.CRASH
    assert "still pending" in ctx.crash
