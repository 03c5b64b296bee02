"""The demo: it checks itself, its seed decides what it is like, its choices make it again."""

import io
import json

import pytest

from ffabric.cli.running.demo import demo
from ffabric.firmware.state.events import Refuse
from ffabric.lab.demo import stage
from ffabric.lab.demo.campaign import campaign, play, play_twice
from ffabric.lab.demo.doorbell import Driver
from ffabric.lab.demo.excerpt import excerpt
from ffabric.lab.demo.programme import Programme
from ffabric.lab.demo.scenes import Demo
from ffabric.lab.demo.trusted import Savings
from ffabric.lab.demo.vms import Alice, DemoFailed
from ffabric.machine.choices import ReplayError
from ffabric.machine.events import ContextEvent


@pytest.fixture(scope="module")
def first():
    """The scenes of the run with seed 1."""
    with Demo(1) as demo:
        return {scene.name: scene for scene in demo.play()}


def lines(data):
    return [json.loads(line) for line in data.splitlines()]


def test_everything_is_shown(first):
    assert list(first) == [
        "boot", "discovery", "messages", "crowd", "memory", "refusals", "death", "heir",
    ]  # fmt: skip
    assert all(scene.facts for name, scene in first.items() if name != "refusals")


def test_it_has_what_it_promises(first):
    facts = "\n".join(first["boot"].facts)
    assert facts.count("unicorn") == 2
    for part in ("S-EL1  python   MP 8", "S-EL1  python   UP", "S-EL0  unicorn  UP", "-> PA 0x"):
        assert part in facts
    every = [line for scene in first.values() for line in scene.lines]
    assert {line.pe for line in every if isinstance(line, ContextEvent)} == set(range(8))
    kinds = {line.kind for line in every}
    assert {"share", "lend", "donate", "retrieve", "relinquish", "restore"} <= kinds
    assert {"vm_created", "vm_destroyed", "notification", "world"} <= kinds


def test_the_refusals_are_explained(first):
    rules = {line.rule: line for line in first["refusals"].lines if isinstance(line, Refuse)}
    assert set(rules) >= {
        "mem.share.unaligned_base", "mem.share.not_owned", "mem.reclaim.retrieved",
        "mem.retrieve.instruction_access_missing", "mem.retrieve.execute_non_secure",
    }  # fmt: skip
    unaligned = rules["mem.share.unaligned_base"]
    assert unaligned.section == "DEN0140 1.2, table 1.13"
    assert unaligned.expected == "a multiple of 0x1000"


def test_memory_of_the_normal_world_is_never_executable_and_comes_back_as_it_was(first):
    assert any("never executable" in fact for fact in first["refusals"].facts)
    assert any("a reclaim restores" in fact for fact in first["memory"].facts)


def test_the_excerpt_leaves_no_call_of_memory_out(first):
    scene = first["memory"]
    every, chosen = list(scene.lines), list(excerpt(scene.lines))
    assert len(chosen) < len(every)
    for kind in ("share", "lend", "donate", "retrieve", "refuse"):
        count = sum(line.kind == kind for line in every)
        assert sum(line.kind == kind for line in chosen) == count


def test_a_seed_makes_one_run_and_its_choices_make_it_again():
    trace, choices = play(7)
    assert play(7) == (trace, choices)
    assert play(7, choices) == (trace, choices)
    recorded = [each for line in lines(trace) if line["kind"] == "choices" for each in line["list"]]
    assert recorded == choices


def test_seeds_make_different_runs_that_are_all_as_they_must_be():
    runs = [play_twice(seed) for seed in range(4)]
    assert [run.failure for run in runs] == [""] * 4
    assert len({run.digest for run in runs}) == 4


def test_bob_does_not_always_die_at_the_same_time():
    ends = set()
    for seed in (1, 2, 3, 5):
        with Demo(seed) as demo:
            for _ in demo.play():
                pass
            ends.add(demo.sums)  # type: ignore[attr-defined]
    assert len(ends) > 1


def test_other_processes_play_the_same():
    (played, *_) = campaign([3, 4], processes=2)
    assert played == play_twice(3)


def test_a_replay_that_does_not_fit_is_an_error():
    _, choices = play(2)
    with pytest.raises(ReplayError):
        play(2, choices[:-1])


@pytest.fixture
def wrong(monkeypatch):
    """Alice sees something that must not be."""

    async def memory(self, ffa):
        raise DemoFailed("the moon: 'square', expected 'round'")

    monkeypatch.setattr(Alice, "memory", memory)


def test_what_is_wrong_is_said(wrong, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    trace = tmp_path / "trace"
    assert demo(trace=trace) == 1
    said = " ".join(capsys.readouterr().out.split())
    told = "FAILED in scene 'memory': alice: DemoFailed: the moon: 'square', expected 'round' "
    assert told + "(tests/lab/demo/test_demo.py:" in said
    assert lines(trace.read_bytes())[-1]["kind"] == "choices"
    assert "the moon" in play_twice(1).failure


def test_a_demo_that_does_not_end_fails(monkeypatch):
    async def memory(self, ffa):
        while True:
            await ffa.yield_()

    monkeypatch.setattr(Alice, "memory", memory)
    monkeypatch.setattr(stage, "EVENTS", 1_000)
    assert "1000 exits used up" in play_twice(1).failure


def test_the_command_prints_scenes_and_a_summary(tmp_path, capsys, monkeypatch):
    for width in (80, 100):
        monkeypatch.setenv("COLUMNS", str(width))
        trace = tmp_path / "trace"
        assert demo(trace=trace) == 0
        out = capsys.readouterr().out.splitlines()
        assert max(map(len, out)) <= width
        assert out[0] == "1. Eight PEs start; SPs first, in their order, then the hypervisor"
        assert out[-1] == "everything is as it must be"
        assert any("normal world -> secure world" in line for line in out)
        assert any(line.endswith("driver.0       < FFA_INTERRUPT: interrupt=40") for line in out)
        assert not any("HF_INTERRUPT_ENABLE returned" in line for line in out)
        assert any(line.startswith("  world switches ") for line in out)
        assert lines(trace.read_bytes())[0]["kind"] == "header"


def test_the_command_can_be_quiet_or_full(tmp_path, capsys):
    trace = tmp_path / "trace"
    demo(trace=trace, quiet=True)
    quiet = capsys.readouterr().out
    demo(trace=trace, full=True)
    full = capsys.readouterr().out
    assert "FFA_" not in quiet
    assert "FFA_RX_RELEASE" in full
    assert "more calls" not in full


def test_the_command_plays_many_seeds(capsys):
    assert demo(seeds=3, processes=1) == 0
    assert capsys.readouterr().out.startswith("3 seeds, 3 different runs, 0 failures; ")


@pytest.fixture(scope="module")
def whole():
    """The scenes of all systems, with seed 1, and the trace."""
    sink = io.BytesIO()
    scenes = {scene.name: scene for scene in Programme(1, sink=sink).play()}
    return scenes, lines(sink.getvalue())


def test_one_trace_holds_every_system(whole):
    scenes, trace = whole
    systems = [line["system"] for line in trace if line["kind"] == "header"]
    assert systems == ["demo", "doorbell", "trusted", "disk"]
    assert [line["title"] for line in trace if line["kind"] == "scene"] == [
        scene.title for scene in scenes.values()
    ]


@pytest.mark.parametrize(
    ("scene", "fact"),
    [
        ("notifications", "set notification 3"),
        ("vmm", "one bottom half sees to both"),
        ("optee", "a session, a balance of 5"),
        ("invoke", "'balance: 5'"),
        ("banks", "alice's balance is 6, bob's 5"),
        ("stranger", "BAD_PARAMETERS, origin TEE"),
        ("forgotten", "bob's bank is forgotten"),
        ("virtio", "2 devices"),
        ("probe", "a disk of 128 sectors"),
        ("disk", "sector 3 reads as it was written"),
        ("tipc", "answers 21 with 42"),
    ],
)
def test_what_the_other_systems_show(whole, scene, fact):
    assert fact in "\n".join(whole[0][scene].facts)


@pytest.mark.parametrize(
    ("stage_of", "method", "scene"),
    [(Driver, "on_device_interrupt", "notifications"), (Savings, "invoke", "optee")],
)
def test_what_is_wrong_in_another_system_is_said(stage_of, method, scene, tmp_path, capsys):
    async def wrong(self, *_):
        raise DemoFailed("the moon: 'square', expected 'round'")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_of, method, wrong)
        assert demo(trace=tmp_path / "trace", quiet=True) == 1
    assert f"FAILED in scene {scene!r}" in capsys.readouterr().out


def test_the_sink_may_be_anything():
    sink = io.BytesIO()
    with Demo(1, sink=sink) as demo:
        next(demo.play())
    assert lines(sink.getvalue())[0]["system"] == "demo"
