"""The two forms of the exchange with a CPU: which one is used, and that they do the same."""

import gc
import hashlib
import sys
import types
from pathlib import Path

import pytest

from ffabric.machine.engines import compiled
from ffabric.machine.engines.qemu import exchange as package
from ffabric.machine.engines.qemu import mailbox as layout
from ffabric.machine.engines.qemu.exchange import choice, interpreted

LARGEST = (1 << 64) - 1
WORDS = 128


@pytest.fixture
def words():
    return memoryview(bytearray(WORDS * 8)).cast("Q")


@pytest.fixture
def exchange(words, form):
    return choice.exchange(words)


def at(field):
    return field // 8


def test_it_is_the_one_that_is_asked_for(exchange, form):
    assert isinstance(exchange, interpreted.Exchange) is (form == "python")


def test_the_checksum_is_that_of_the_source():
    """Whoever changes exchange.c writes its checksum into choice.py, and compiles it again."""
    source = Path(package.__file__).with_name("exchange.c")
    assert "x" + hashlib.sha256(source.read_bytes()).hexdigest()[:16] == choice.SOURCE


def test_a_compiled_one_of_another_version_is_not_used(words, monkeypatch):
    other = types.SimpleNamespace(SOURCE="x0123")
    monkeypatch.setattr(compiled.importlib, "import_module", lambda _: other)
    monkeypatch.delenv(compiled.VARIABLE, raising=False)
    assert isinstance(choice.exchange(words), interpreted.Exchange)
    monkeypatch.setenv(compiled.VARIABLE, "c")
    with pytest.raises(compiled.InnerLoopError, match="the compiled one is of another version"):
        choice.exchange(words)


def test_the_words_are_those_of_the_mailbox():
    own = (
        interpreted.REQUEST_AT,
        interpreted.ANSWER_AT,
        interpreted.KIND_AT,
        interpreted.TICKS_AT,
        interpreted.RESUME_AT,
        interpreted.ASLEEP_AT,
        interpreted.X_AT,
    )
    there = (
        layout.REQUEST,
        layout.ANSWER,
        layout.KIND,
        layout.TICKS,
        layout.RESUME,
        layout.ASLEEP,
        layout.X,
    )
    assert own == tuple(map(at, there))


@pytest.mark.parametrize("request_", [1, 5, LARGEST])
def test_an_exit_is_seen_whatever_its_number(exchange, words, request_):
    x = [7] * 18
    words[at(layout.REQUEST)] = words[at(layout.ANSWER)] = request_
    assert exchange.take(x, 3) == interpreted.NONE
    assert x == [7] * 18
    words[at(layout.REQUEST)] = request_ + 1 & LARGEST
    assert exchange.take(x, 0) == interpreted.NONE
    assert exchange.take(x, 1) == 0


def test_of_an_exit_its_kind_its_registers_and_the_ticks_of_the_last_call_are_taken(
    exchange, words
):
    values = [LARGEST - n for n in range(18)]
    for n, value in enumerate(values):
        words[at(layout.X) + n] = value
    words[at(layout.REQUEST)] = 1
    words[at(layout.KIND)], words[at(layout.TICKS)] = LARGEST, LARGEST - 1
    x = [0] * 18
    assert exchange.take(x, 1) == LARGEST
    words[at(layout.TICKS)] = 0
    assert x == values
    assert exchange.ticks == LARGEST - 1


def test_an_answer_writes_what_belongs_to_it_and_nothing_else(exchange, words):
    for n in range(WORDS):
        words[n] = 1000 + n
    values = [LARGEST - n for n in range(18)]
    assert exchange.answer(values, 0x4000)
    own = {at(layout.RESUME): 0x4000, at(layout.ANSWER): 1000}
    own |= {at(layout.X) + n: value for n, value in enumerate(values)}
    assert words.tolist() == [own.get(n, 1000 + n) for n in range(WORDS)]


def test_an_answer_is_there_whatever_its_words_have_held_meanwhile(exchange, words):
    x = [0] * 18
    words[at(layout.REQUEST)] = 1
    exchange.take(x, 1)
    for n in range(18):
        words[at(layout.X) + n] = 1000 + n
    exchange.answer(x, 0)
    assert words[at(layout.X) : at(layout.X) + 18].tolist() == [0] * 18


@pytest.mark.parametrize("length", [17, 19])
def test_registers_are_put_into_lists_of_their_number(words, length):
    module = pytest.importorskip(choice.MODULE)
    words[at(layout.REQUEST)] = 1
    with pytest.raises(ValueError, match="a list of 18 integers"):
        module.Exchange(words).take([0] * length, 1)


def test_who_is_awake_need_not_be_woken(exchange):
    assert not exchange.answer([0] * 18, 0)


@pytest.mark.parametrize(
    ("x", "why"),
    [
        ([-1, *[0] * 17], "x0 is -0x1, no unsigned integer of 64 bits"),
        ([*[0] * 17, 1 << 64], "x17 is 0x10000000000000000, no unsigned integer of 64 bits"),
        (["text", *[0] * 17], "x0 is of type str, no unsigned integer of 64 bits"),
        ([0] * 17, "17 registers: a call has x0 to x17"),
        ([0] * 19, "19 registers: a call has x0 to x17"),
    ],
)
def test_what_no_register_holds_is_no_answer(exchange, words, x, why):
    words[at(layout.REQUEST)] = 1
    with pytest.raises(ValueError, match=why):
        exchange.answer(x, 0)
    assert words[at(layout.ANSWER)] == 0


def test_it_is_freed_and_so_is_its_memory(words, form):
    exchange = choice.exchange(words)
    del exchange
    gc.collect()
    words.release()


def test_nothing_is_counted_wrongly(exchange, words):
    """A reference too many, or too few, for each register of each call."""
    x = [300 + n for n in range(18)]
    before = [sys.getrefcount(each) for each in (*x, None)]
    for _ in range(1000):
        exchange.answer(x, 0)
        words[at(layout.REQUEST)] += 1
        assert exchange.take([0] * 18, 1) == 0
    after = [sys.getrefcount(each) for each in (*x, None)]
    assert max(abs(one - other) for one, other in zip(before, after, strict=True)) < 100


@pytest.mark.parametrize(
    "memory",
    [
        bytes(WORDS * 8),
        memoryview(bytearray(33 * 8)).cast("Q"),
        memoryview(bytearray(WORDS * 8 + 1))[1:],
    ],
    ids=["that cannot be written", "that is too short", "that is not aligned"],
)
def test_memory_that_is_no_block_is_refused_in_c(memory):
    module = pytest.importorskip(choice.MODULE)
    with pytest.raises((BufferError, ValueError)):
        module.Exchange(memory)
