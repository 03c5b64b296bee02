"""Messages that are lost, late, repeated, exchanged or changed: nobody crashes, nothing leaks."""

import pytest

from ffabric.abi.virtio_msg.generations import PR28, RFC2, V2
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.lab.running import End, run_to_end
from ffabric.lab.virtio_msg.conform import EXITS, PATIENCE, Trial, devices, run
from ffabric.lab.virtio_msg.judges.observer import Judges
from ffabric.lab.virtio_msg.judges.rules import Verdict
from ffabric.lab.virtio_msg.lively import changes
from ffabric.lab.virtio_msg.mischief import Act, Mischief
from ffabric.lab.virtio_msg.tap import Pair, Tap
from ffabric.lab.virtio_msg.worker import Worker
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe

WAY = Pair(1, 0x8001)
MESSAGES = [bytes((0, number, *bytes(4), 8, 0)) for number in range(100, 110)]


def treated(mischief, messages=MESSAGES):
    """What arrives of messages to the device side."""
    return [part for each in messages for part in mischief.to_device(WAY, each)]


@pytest.mark.parametrize(
    ("act", "arrived"),
    [
        (Act.DROP, [0, 1, 3]),
        (Act.DUPLICATE, [0, 1, 2, 2, 3]),
        (Act.DELAY, [0, 1, 3, 2]),
    ],
)
def test_what_happens_to_one_message(act, arrived):
    mischief = Mischief(script={2: act})
    assert treated(mischief, MESSAGES[:4]) == [MESSAGES[each] for each in arrived]


@pytest.mark.parametrize(("act", "count"), [(Act.STALE, 4), (Act.REPLAY, 5)])
def test_an_older_message_comes_again(act, count):
    arrived = treated(Mischief(script={2: act}), MESSAGES[:4])
    assert len(arrived) == count
    assert arrived[2] in MESSAGES[:2]
    assert arrived[-1] == MESSAGES[3]


def test_a_corrupted_message_differs_by_a_bit():
    arrived = treated(Mischief(script={2: Act.CORRUPT}), MESSAGES[:4])
    wrong = int.from_bytes(arrived[2], "little") ^ int.from_bytes(MESSAGES[2], "little")
    assert wrong.bit_count() == 1
    assert arrived[3] == MESSAGES[3]


def test_after_the_last_message_there_is_calm():
    mischief = Mischief(rate=100, acts=[Act.DROP], last=3)
    assert treated(mischief) == MESSAGES[4:]


CARRIERS = pytest.mark.parametrize(
    "carrier",
    [{}, {"indirect": True}, {"fifo": True}, {"fifo": True, "indirect": True, "secure": False}],
    ids=["direct", "indirect", "FIFO to SP", "FIFO to VM"],
)


@pytest.mark.parametrize("seed", [1, 2])
@CARRIERS
def test_a_seed_makes_the_same_mischief_and_its_log_is_a_script(seed, carrier):
    trial = Trial(PR28, **carrier)
    once, again = Mischief(seed, rate=5), Mischief(seed, rate=5)
    first, second = run(trial, once), run(trial, again)
    assert once.log == again.log != {}
    assert first.messages == second.messages
    scripted = Mischief(seed, script=once.log)
    assert run(trial, scripted).messages == first.messages
    assert scripted.log == once.log


@pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)
@pytest.mark.parametrize("driver", ["python", "examiner"])
@CARRIERS
@pytest.mark.parametrize("act", list(Act), ids=lambda each: each.value)
def test_both_sides_keep_the_rules_whatever_arrives(generation, driver, carrier, act):
    trial = Trial(generation, driver, "lively", static=True, **carrier)
    outcome = run(trial, Mischief(7, rate=4, acts=[act]))
    assert outcome.ended_well, outcome.ended
    failed = outcome.report.of(Verdict.FAILED)
    assert [(each.side, each.rule.id, each.first) for each in failed] == []


@pytest.mark.parametrize(
    "way", [{}, {"indirect": True}, {"indirect": True, "secure": False}], ids=str
)
@pytest.mark.parametrize("act", list(Act), ids=lambda each: each.value)
def test_they_do_without_tokens_too(way, act):
    outcome = run(Trial(RFC2, "python", "lively", **way), Mischief(7, rate=4, acts=[act]))
    assert outcome.ended_well, outcome.ended
    failed = outcome.report.of(Verdict.FAILED)
    assert [(each.side, each.rule.id, each.first) for each in failed] == []


@pytest.mark.parametrize("seed", range(4))
@CARRIERS
def test_they_do_when_each_buffer_is_shared_for_itself(carrier, seed):
    outcome = run(Trial(V2, "python", "lively", **carrier), Mischief(seed, rate=6))
    assert outcome.ended_well, outcome.ended
    failed = outcome.report.of(Verdict.FAILED)
    assert [(each.side, each.rule.id, each.first) for each in failed] == []


def calm_after(generation, *, indirect, static, seed, last):
    """A worker that goes through mischief, and then through calm: what it holds, what it met."""
    side = DeviceSide(devices(), generation=generation)
    worker = Worker(
        generation=generation,
        indirect=indirect,
        static=static,
        patience=PATIENCE,
        attempts=20,
    )
    mischief = Mischief(seed, rate=6, changes=changes(side), last=last)
    judges = Judges(generation)
    with boot(describe(sps=[side], vms=[worker])) as system:
        Tap(system, judges, mischief)
        system.machine.exit_limit = EXITS
        ended = run_to_end(system)
    assert ended.end is End.IDLE, ended.said
    assert mischief.log
    return worker


@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
@pytest.mark.parametrize("static", [0, 64], ids=["dynamic", "static"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("generation", [PR28, RFC2], ids=lambda each: each.name)
def test_when_it_is_calm_again_everything_works_and_all_memory_is_back(
    generation, indirect, static, seed
):
    worker = calm_after(generation, indirect=indirect, static=static, seed=seed, last=100)
    assert worker.problems == {}
    assert worker.used >= 3
    assert [len(areas) for areas in worker.held] == [0] * len(worker.held)
