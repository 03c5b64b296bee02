"""The Unicorn engine: signals that arrive where a hook of Unicorn enters Python.

Python runs a signal's handler where the next function begins. A hook in C, called before the
instruction that leads to a hook in Python, raises the signal exactly there: it is
``PyErr_SetInterrupt``, which does what the arrival of SIGINT does.
"""

import ctypes
import gc
import signal
from ctypes import c_size_t, c_uint64, c_void_p

import pytest
from unicorn import unicorn_const as uc
from unicorn_board import IPA, NORMAL, Board

from ffabric.machine.engines.unicorn import layout, native

DEVICE = 0x0A00_0000


class Interrupted(Exception):  # noqa: N818 - what happened
    """What the handler of SIGINT raises."""


class Cell:
    """A device that answers and takes anything."""

    def read(self, _offset, _size):
        return 0x55

    def write(self, _offset, _size, _value):
        pass


@pytest.fixture
def board():
    board = Board(sysreg=lambda _ctx, _name, _write, _value: 0)
    board.bus.add(DEVICE, 0x1000, Cell(), secure=False)
    board.stage2.map(DEVICE, DEVICE, 1, NORMAL)
    yield board
    board.close()


@pytest.fixture
def sent():
    """The handler of SIGINT raises `Interrupted` and counts."""
    taken = []

    def handler(_number, _frame):
        taken.append(1)
        raise Interrupted

    former = signal.signal(signal.SIGINT, handler)
    yield taken
    signal.signal(signal.SIGINT, former)


def interrupt_before(emulator, address):
    """Let SIGINT arrive whenever the instruction at ``address`` is about to be executed."""
    arrive = ctypes.cast(ctypes.pythonapi.PyErr_SetInterrupt, c_void_p)
    at = c_uint64(address)
    installed = ctypes.byref(c_size_t())
    error = native._fast.uc_hook_add(
        emulator.handle, installed, uc.UC_HOOK_CODE, arrive, None, at, at
    )
    assert not error


HOOKS = {
    "a call": (0, 0, 0),
    "the read of a system register": (13, 0, 0),
    "the write of a system register": (15, 20, 0),
    "the invalidation of a TLB": (17, 16, IPA),
    "the load from a device": (12, 0, DEVICE),
    "the store to a device": (12, 4, DEVICE),
    "the translation of a block": (6, 16, 0),
}
"""The hook -> case of the image, offset in it of the instruction that leads to the hook, x0."""


@pytest.mark.parametrize(("case", "offset", "x0"), HOOKS.values(), ids=HOOKS)
def test_what_a_signal_raises_where_a_hook_begins_ends_the_run(board, sent, case, offset, x0):
    vcpu = board.vcpu(case, x0)
    interrupt_before(vcpu.runner._emulator, IPA + case * 0x100 + offset)

    def answer(ctx, _exit):
        ctx.x[0] = 1
        return True

    with pytest.raises(Interrupted):
        vcpu.until(answer)
    assert sent == [1]


@pytest.mark.parametrize(("case", "offset", "x0"), HOOKS.values(), ids=HOOKS)
def test_a_signal_that_raises_nothing_disturbs_nothing(board, case, offset, x0):
    taken = []
    former = signal.signal(signal.SIGINT, lambda *_: taken.append(1))
    try:
        steps = []
        for interrupted in (False, True):
            vcpu = board.vcpu(case, x0)
            if interrupted:
                interrupt_before(vcpu.runner._emulator, IPA + case * 0x100 + offset)
            steps.append([vcpu.step() for _ in range(3)])
    finally:
        signal.signal(signal.SIGINT, former)
    assert taken
    assert steps[0] == steps[1]


def test_the_search_for_unicorns_structures_is_interrupted_too(monkeypatch, sent):
    run = native.Emulator.run

    def interrupted(emulator, pc, limit):
        interrupt_before(emulator, pc + 12)
        return run(emulator, pc, limit)

    monkeypatch.setattr(native.Emulator, "run", interrupted)
    with pytest.raises(Interrupted):
        layout._run(3, 0x12345)
    assert sent == [1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_cannot_be_raised_elsewhere_goes_where_it_always_went(board, monkeypatch):
    class Doomed:
        def __del__(self):
            raise ValueError("in a destructor")

    told = []
    monkeypatch.setattr("sys.unraisablehook", lambda found: told.append(str(found.exc_value)))
    doomed = [Doomed()]

    def answer(_ctx, _exit):
        doomed.clear()
        gc.collect()
        return False

    assert board.vcpu(0).until(answer)[0][0] == "SMC"
    assert told == ["in a destructor"]
