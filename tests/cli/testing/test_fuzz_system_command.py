"""``ffabric fuzz SYSTEM``: what is printed, kept and refused."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ffabric

PARTITIONS = """
from ffabric import Partition

class Adder(Partition):
    async def on_direct_request(self, request, ffa):
        a, b, *_ = request.payload
        return request.respond(100 // abs(a - 7))

class Client(Partition):
    pass
"""
SYSTEM = """
name = "mine"
[[sp]]
name = "adder"
python = "partitions.py:Adder"
[[vm]]
name = "client"
python = "partitions.py:Client"
"""


@pytest.fixture
def fuzz(run_afresh):
    """Runs ``ffabric fuzz`` in a folder with a system whose partition cannot add 7."""
    Path("partitions.py").write_text(PARTITIONS)
    Path("mine.toml").write_text(SYSTEM)
    return lambda *words: run_afresh("fuzz", *words, "--processes", "1")


def test_what_is_broken_is_told_with_the_calls_that_break_it(fuzz, run_afresh):
    status, printed, _ = fuzz("mine.toml")
    assert status == 1
    assert "crashed: adder: ZeroDivisionError" in printed
    (file,) = Path("mine.fuzz").glob("broken-crashed-adder-*.jsonl")
    assert f"1 call: ffabric calls {file} --system mine.toml" in " ".join(printed.split())
    (call,) = map(json.loads, file.read_text().splitlines())
    assert int(call["x"][3], 16) == 7
    status, printed, errors = run_afresh("calls", file, "--system", "mine.toml")
    assert status == 0
    assert "ZeroDivisionError" in errors
    assert 'partitions.py", line 7' in errors


def test_the_corpus_is_kept_and_what_is_the_users_stays(fuzz):
    Path("mine.fuzz").mkdir()
    own = Path("mine.fuzz/begin.jsonl")
    own.write_text('{"endpoint": "client", "x": ["0x84000063", "0x10002"]}\n')
    fuzz("mine.toml", "--calls", "50", "--keep-going")
    kept = {each.name for each in Path("mine.fuzz").iterdir()}
    assert own.name in kept
    assert any(len(each) == len("0123456789abcdef.jsonl") for each in kept)
    status, printed, _ = fuzz("mine.toml", "--calls", "1", "--json", "--keep-going")
    found = json.loads(printed)
    assert found["cases"] > len(kept) - 2
    assert found["attackers"] == ["client"]
    assert status == (1 if found["broken"] else 0)


def test_invariants_are_judged_if_they_are_named(fuzz):
    words = "mine.toml", "--calls", "60", "--keep-going", "--json"
    for more in ([], ["--invariants", "all"], ["--invariants", "contexts, optee"]):
        _, printed, errors = fuzz(*words, *more)
        assert "invariant" not in printed
        assert not errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mine.toml", "--as", "clint"], "--as clint: no endpoint of the system (did you mean"),
        (["mine.toml", "--as", "adder", "--as", "client"], "nobody is left to be attacked"),
        (["mine.toml", "--pairs"], "--pairs is for campaigns against the firmware"),
        (["mine.toml", "--state", "x"], "--state is for campaigns against the firmware"),
        (["--corpus", "x"], "--corpus needs a SYSTEM"),
        (["--invariants", "all"], "--invariants needs a SYSTEM"),
        (["mine.toml", "--invariants", "bufers"], "no invariant 'bufers' (did you mean 'buffers'"),
        (["absent.toml"], "absent.toml"),
        (["mine.toml", "--calls", "0"], "--calls 0: at least one"),
        (["mine.toml", "--scheduler", "nonsense://1"], "nonsense://1: no scheduler"),
    ],
)
def test_what_cannot_be_is_one_line(fuzz, words, said):
    status, _, errors = fuzz(*words)
    assert status == 2
    assert said in errors
    assert errors.count("\n") == 1


def test_everything_that_is_wrong_with_the_corpus_is_told(fuzz):
    Path("mine.fuzz").mkdir()
    Path("mine.fuzz/a.jsonl").write_text("nonsense\n")
    Path("mine.fuzz/b.jsonl").write_text('{"endpoint": "adder", "x": ["0x84000063"]}\n')
    status, _, errors = fuzz("mine.toml")
    assert status == 2
    assert "mine.fuzz/a.jsonl:1:5: not JSON" in errors
    assert "mine.fuzz/b.jsonl:1: adder is not an attacker" in errors


@pytest.fixture
def dask(tmp_path):
    """A scheduler of dask.distributed: its address, and what starts a worker."""
    running = []

    def start(module, *words, stderr=subprocess.DEVNULL):
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *words],
            env={**os.environ, "PYTHONPATH": str(Path(ffabric.__file__).parents[1])},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            text=True,
        )
        running.append(process)
        return process

    scheduler = start(
        "dask_scheduler", "--port", "0", "--no-dashboard", "--no-jupyter", "--host", "127.0.0.1",
        stderr=subprocess.PIPE,
    )  # fmt: skip
    told = (re.search(r"Scheduler at: +(tcp://\S+)", line) for line in scheduler.stderr)
    address = next(filter(None, told))[1]

    def worker():
        return start(
            "dask_worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny",
            "--local-directory", str(tmp_path / "dask"),
        )  # fmt: skip

    yield address, worker
    for each in running:
        each.kill()
        each.communicate()


def test_workers_that_come_and_go_play_the_same_campaign(fuzz, dask, monkeypatch):
    text = PARTITIONS.replace("100 // abs(a - 7)", "a")
    Path("partitions.py").write_text(text)
    address, worker = dask
    first = worker()

    from ffabric.lab.guided import campaign

    add = campaign.State.add

    def gone_after_one(state, result):
        nonlocal first
        if first is not None:
            first.kill()
            first = None
            worker()
        add(state, result)

    with monkeypatch.context() as patch:
        patch.setattr(campaign.State, "add", gone_after_one)
        words = "mine.toml", "--calls", "900", "--json"
        status, elsewhere, errors = fuzz(*words, "--scheduler", address, "--corpus", "elsewhere")
    assert status == 0, errors
    assert first is None
    status, here, _ = fuzz(*words, "--corpus", "here")
    assert json.loads(elsewhere)["digest"] == json.loads(here)["digest"]
