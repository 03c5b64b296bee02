"""The two inner loops: which one is used, and that they do the same, together too."""

import gc
import hashlib
import sys
import types
import weakref
from pathlib import Path

import pytest
from unicorn_board import Board

from ffabric.machine import exits
from ffabric.machine.context import IRQ
from ffabric.machine.engines import compiled
from ffabric.machine.engines.unicorn import inner_loop
from ffabric.machine.engines.unicorn.inner_loop import choice

FAR = 1 << 62
"""In nanoseconds: from here on the loop in C leaves time to that in Python."""
MODULE = f"{inner_loop.__name__}._loop"


@pytest.fixture
def board():
    board = Board(slice_=1000)
    yield board
    board.close()


def test_the_loop_is_the_one_that_is_asked_for(board, loop):
    assert (
        type(board.vcpu(0).runner).__name__
        == {"python": "UnicornRunner", "c": "CompiledRunner"}[loop]
    )
    assert choice.said() == {"python": "in Python (FFABRIC_INNER_LOOP says so)", "c": "in C"}[loop]


def test_none_that_is_returned_is_counted_as_a_reference(board):
    """Where it is compiled None may not be counted, as in 3.12, and where it is used it may."""
    runner = board.vcpu(0).runner
    before = sys.getrefcount(None)
    for _ in range(1000):
        runner.spend(0)
        runner.end_within(1 << 70)
        runner.keep_deadline()
    assert sys.getrefcount(None) > before - 100


def test_the_checksum_is_that_of_the_source():
    """Whoever changes loop.c writes its checksum into choice.py, and compiles it again."""
    source = Path(inner_loop.__file__).with_name("loop.c")
    assert "x" + hashlib.sha256(source.read_bytes()).hexdigest()[:16] == choice.SOURCE


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (types.SimpleNamespace(SOURCE="x0123"), "the compiled one is of another version"),
        (types.SimpleNamespace(SOURCE=choice.SOURCE), ""),
        (ImportError("wrong ELF class"), "the compiled one does not load: wrong ELF class"),
        (ModuleNotFoundError("none"), "no compiled one is installed"),
    ],
)
def test_a_compiled_loop_that_is_not_of_this_version_is_not_used(monkeypatch, module, why):
    def load(name):
        assert name == MODULE
        if isinstance(module, Exception):
            raise module
        return module

    monkeypatch.setattr(compiled.importlib, "import_module", load)
    monkeypatch.delenv(compiled.VARIABLE)
    assert choice.is_compiled() is not why
    assert choice.said() == (f"in Python ({why})" if why else "in C")
    monkeypatch.setenv(compiled.VARIABLE, "c")
    if why:
        with pytest.raises(compiled.InnerLoopError, match=why):
            choice.is_compiled()


def test_both_loops_take_turns_at_one_vcpu(board):
    def seen(turns):
        other = Board(slice_=1000)
        vcpu = other.vcpu(6)
        found = []
        for number in range(60):
            vcpu.runner.interpreted = turns(number)
            vcpu.runner.interrupt(IRQ, number % 3 == 0)
            found.append((vcpu.step(), other.clock.now, vcpu.runner.instructions))
        other.close()
        return found

    alone = seen(lambda _: False)
    assert seen(lambda _: True) == alone
    assert seen(lambda number: number % 2 == 0) == alone


def test_a_loop_takes_over_in_the_middle_of_a_run(board):
    vcpu = board.vcpu(0)
    seen = []

    def answer(ctx, exit_):
        seen.append(list(ctx.x))
        vcpu.runner.interpreted = len(seen) % 3 == 1
        ctx.x[:] = [len(seen) * 100 + n for n in range(18)]
        return len(seen) < 10

    vcpu.until(answer)
    assert seen[1:] == [[n * 100 + k for k in range(18)] for n in range(1, 10)]


@pytest.mark.parametrize("start", [FAR // 2 - 1500, FAR - 1500, FAR + 5, (1 << 64) + 7])
def test_time_beyond_any_integer_of_c_passes_alike(board, start):
    board.clock.advance(start)
    rang = []
    board.clock.at(start + 1700, lambda: rang.append(board.clock.now))
    vcpu = board.vcpu(3)
    times = []
    for _ in range(3):
        assert vcpu.step()[0] == "SLICE"
        times.append(board.clock.now - start)
    assert rang == [start + 1700]
    assert times == [1000, 1700, 2700]


def test_an_answer_may_be_any_integer_that_fits(board):
    class Index:
        def __index__(self):
            return 7

    vcpu = board.vcpu(0)
    assert vcpu.step()[0] == "SMC"
    vcpu.ctx.x[:] = [True, Index(), 2**64 - 1, *[0] * 15]
    assert vcpu.step()[1][:3] == [1, 7, 2**64 - 1]


@pytest.mark.parametrize("wrong", [2**64, -1, "3", None, 1.0])
def test_an_answer_that_no_register_holds_names_the_register(board, wrong):
    vcpu = board.vcpu(0)

    def answer(ctx, _exit):
        ctx.x[17] = wrong
        return True

    with pytest.raises(ValueError, match=r"x17 is .*, no unsigned integer of 64 bits"):
        vcpu.until(answer)
    vcpu.ctx.x[17] = 5
    assert vcpu.step()[1][17] in {0, 5}  # it goes on, with the answer or without it


def test_registers_are_shown_whoever_has_written_into_the_context(board):
    vcpu = board.vcpu(0)
    answers = [[n] * 18 for n in range(1, 5)]
    seen = []

    def answer(ctx, _exit):
        seen.append(list(ctx.x))
        if not answers:
            return False
        ctx.x[:] = answers.pop(0)
        return True

    vcpu.until(answer)
    vcpu.ctx.x[:] = [99] * 18
    seen.append(vcpu.step()[1])
    assert seen[1:] == [*([n] * 18 for n in range(1, 5)), [99] * 18]


def test_a_runner_that_nobody_has_is_collected(board):
    vcpu = board.vcpu(0)
    vcpu.step()
    gone = weakref.ref(vcpu.runner)
    del vcpu
    gc.collect()
    assert gone() is None


def test_an_error_in_the_clock_comes_out_of_run(board):
    def fail():
        raise LookupError("timer")

    board.clock.at(300, fail)
    vcpu = board.vcpu(3)
    with pytest.raises(LookupError, match="timer"):
        vcpu.step()
    assert vcpu.step()[0] == "SLICE"


def test_the_hook_for_what_cannot_be_raised_is_that_of_before(board, monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    vcpu = board.vcpu(0)
    during = []

    def answer(_ctx, exit_):
        during.append(sys.unraisablehook)
        return exit_ == exits.SMC and len(during) < 3

    vcpu.until(answer)
    assert sys.unraisablehook == told.append
    assert all(each != told.append for each in during)


@pytest.mark.parametrize(
    "options",
    [{"slice_": 2**31}, {"instruction_time": 2**31}, {"counter_step": 2**31}, {"counter_step": -1}],
)
def test_what_would_not_fit_is_refused(options):
    with pytest.raises(ValueError, match="a slice of"):
        Board(**options)
