"""Events that burst into scenarios: which there are, and faults that only they show."""

import pytest

from ffabric.firmware.hypervisor.spmc_link import retried, unfinished
from ffabric.firmware.hypervisor.vms import lifetime
from ffabric.firmware.manager import cycles
from ffabric.lab.fuzz.campaign import play
from ffabric.lab.fuzz.events import EVENTS
from ffabric.lab.fuzz.injection.injections import Injections, Performance, boundaries, parse
from ffabric.lab.fuzz.injection.scenarios import SCENARIOS
from ffabric.lab.fuzz.report import Report


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_is_played_as_it_is_written(name):
    performance = Performance(SCENARIOS[name], (), Report())
    performance.play()
    assert performance.skipped <= 2  # somebody may be busy with something else then


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_happens_somewhere(event):
    for name in ("interrupt", "chain", "kernel-cycles"):
        for boundary in range(1, boundaries(name)):
            injected = [(boundary, "wfi-0"), (boundary, event)]
            performance = Performance(SCENARIOS[name], injected, Report())
            performance.play()
            if performance.happened == 2:
                return
    pytest.fail("it never happens")


@pytest.mark.parametrize("pairs", [False, True])
def test_every_injection_has_a_name_of_its_own(pairs):
    names = Injections(pairs=pairs)
    count = 0
    for name, scenario in SCENARIOS.items():
        events, places = len(scenario.events), boundaries(name)
        count += events**2 * places * (places + 1) // 2 if pairs else events * places
    assert len(names) == count
    some = [names[at] for at in (*range(3000), *range(count - 3000, count))]
    assert len(set(some)) == 6000
    for name in some[::50]:
        scenario, injected = parse(name)
        assert len(injected) == 1 + pairs
        assert sorted(injected, key=lambda each: each[0]) == injected
        assert {event for _, event in injected} <= {*scenario.events}
    with pytest.raises(IndexError):
        names[count]


# Faults of the kinds that were in the firmware once, and what finds them


def test_frames_that_are_free_before_both_managers_agree(monkeypatch):
    def reclaim(hypervisor, region):
        for _, pa, pages, _ in region.runs:
            hypervisor.frames.release(pa, pages)
        yield from ()

    assert play("share/destroy-first@5").failure is None
    monkeypatch.setattr(retried, "reclaim", reclaim)
    assert "is free" in play("share/destroy-first@5").failure.what


def test_a_context_that_is_interrupted_and_run_elsewhere(monkeypatch):
    judge = cycles.judge_run

    def judge_run(pe, caller, ctx):
        handler, ctx.handler = ctx.handler, None
        try:
            judge(pe, caller, ctx)
        finally:
            ctx.handler = handler

    assert play("notify/level-high@3").failure is None
    monkeypatch.setattr(cycles, "judge_run", judge_run)
    assert "interrupted for a handler" in play("notify/level-high@3").failure.what


@pytest.mark.parametrize("event", ["yield-0", "sgi-0"])
def test_a_request_of_a_dead_vm_that_is_finished_while_another_is(monkeypatch, event):
    def finish_requests(hypervisor, vm, pe):
        for word, ctx in [*hypervisor.unfinished.items()]:  # as they were when it began
            if ctx.partition is vm:
                del hypervisor.unfinished[word]
                yield from unfinished.finish(hypervisor, word, pe)

    name = f"chain/{event}@9/destroy-first@15"
    assert play(name).failure is None
    monkeypatch.setattr(lifetime, "_finish_requests", finish_requests)
    assert play(f"chain/{event}@9/destroy-first@14").failure is None
    assert "KeyError" in play(name).failure.what
