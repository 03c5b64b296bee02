"""``ffabric run``."""

import json
import sys

import pytest

from ffabric.cli.errors import UsageError
from ffabric.cli.main import main
from ffabric.cli.running.run import run

PARTS = """
import signal
import sys

from ffabric.guests.errors import FfaError
from ffabric.guests.partition import Partition


class Adder(Partition):
    async def on_direct_request(self, request, ffa):
        a, b, *_ = request.payload
        return request.respond(a + b)


class Client(Partition):
    async def main(self, ffa):
        for n in range(4):
            try:
                await ffa.direct_request("adder", n, n)
            except FfaError:
                await ffa.yield_()
        await ffa.console_log("done\\n")


class Crashing(Partition):
    async def main(self, ffa):
        raise ValueError("no more")


class Spinning(Partition):
    async def main(self, ffa):
        while True:
            pass


class Interrupting(Partition):
    async def main(self, ffa):
        signal.raise_signal(signal.SIGINT)


class Leaving(Partition):
    async def main(self, ffa):
        sys.exit(0)


class GivingUp(Partition):
    async def main(self, ffa):
        raise KeyboardInterrupt


class Calling(Partition):
    async def main(self, ffa):
        while True:
            await ffa.yield_()
"""

SYSTEM = """
name = "two clients"
pes = 3
[[sp]]
name = "adder"
python = "parts.py:Adder"
[[vm]]
name = "one"
python = "parts.py:Client"
[[vm]]
name = "two"
python = "parts.py:{}"
[run]
stop_on_crash = {}
"""


@pytest.fixture
def system(tmp_path):
    """Writes a system whose second VM is of a class."""
    (tmp_path / "parts.py").write_text(PARTS)

    def write(second="Client", stop_on_crash="true"):
        path = tmp_path / "system.toml"
        path.write_text(SYSTEM.format(second, stop_on_crash))
        return path

    return write


def kinds(path):
    return [json.loads(line)["kind"] for line in path.read_bytes().splitlines()]


def test_consoles_and_a_summary_are_printed(system, capsys):
    assert run(system()) == 0
    out = capsys.readouterr().out
    assert "one: done\n" in out
    assert "two: done\n" in out
    assert "the run ended: nothing can run any more\n" in out
    assert f"  {'adder':<35} waiting for a message (FFA_MSG_WAIT)\n" in out
    assert f"  {'refused by direct.req.receiver_busy':<35} 4\n" in out
    assert "world switches" in out


def test_a_seed_makes_the_same_run_and_another_a_different_one(system, tmp_path):
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        run(system(), seed=seed, trace=file)
    first, second, third = (file.read_bytes() for file in files)
    assert first == second
    assert first != third


def test_a_replay_leaves_the_same_trace(system, tmp_path):
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    run(system(), seed=4, trace=first)
    run(system(), replay=first, trace=second)
    assert first.read_bytes() == second.read_bytes()
    assert kinds(first)[0] == "header"
    assert "choices" in kinds(first)


def test_a_verbose_run_is_decoded_and_leaves_the_same_trace(system, tmp_path, capsys):
    quiet, verbose = tmp_path / "quiet", tmp_path / "verbose"
    run(system(), trace=quiet)
    assert "FFA_MSG_SEND" not in capsys.readouterr().out
    run(system(), trace=verbose, verbose=True)
    assert "FFA_MSG_SEND_DIRECT_REQ_64" in capsys.readouterr().out
    assert quiet.read_bytes() == verbose.read_bytes()
    run(system(), verbose=True)
    assert "normal world -> secure world" in capsys.readouterr().out


def test_json_is_a_line_each(system, capsys):
    assert run(system(), json=True, seed=3) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["waiting"]["one"] == "idle: its program has returned"
    assert lines[0]["kind"] == "console"
    assert lines[-1]["kind"] == "summary"
    assert lines[-1]["end"] == "idle"
    assert lines[-1]["seed"] == 3
    run(system(), json=True, verbose=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"call", "return", "world"} <= {line["kind"] for line in lines}


def test_a_crash_ends_the_run_and_says_whose_it_was(system, tmp_path, capsys):
    trace = tmp_path / "trace"
    assert run(system("Crashing"), trace=trace) == 3
    assert "two crashed: ValueError: no more\n" in capsys.readouterr().out
    assert kinds(trace)[-1] in ("choices", "aborted", "return", "vm_destroyed")


def test_a_run_goes_on_after_a_crash_if_the_system_says_so(system, capsys):
    assert run(system("Crashing", "false")) == 3
    out = capsys.readouterr().out
    assert "two crashed: ValueError: no more\n" in out
    assert "one: done\n" in out
    assert "the run ended: nothing can run any more\n" in out


def test_endless_computing_is_an_end_of_its_own(system, capsys):
    assert run(system("Spinning"), watchdog=0.02) == 4
    assert "two crashed: Spinning: no exit within 0.02 s" in capsys.readouterr().out


def test_the_events_may_be_limited(system, capsys):
    assert run(system("Calling"), max_events=50) == 5
    assert "50 exits used up; " in capsys.readouterr().out


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command line: exit status and what it says on standard error."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["ffabric", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, capsys.readouterr().err.splitlines()

    return call


def test_every_mistake_is_a_line(system, command):
    path = system("Cleint", "3")
    status, errors = command("run", path)
    assert status == 2
    place = f"ffabric: {path}: "
    assert errors[0] == (
        f"{place}[[vm]] two: python: parts.py has no 'Cleint' (did you mean 'Client'?)"
    )
    assert errors[1].startswith(f"{place}[run]: stop_on_crash: ")
    assert len(errors) == 2


def test_a_file_that_is_not_there(command, tmp_path):
    status, errors = command("run", tmp_path / "none.toml")
    assert status == 2
    assert errors == [f"ffabric: {tmp_path / 'none.toml'}: No such file or directory"]


@pytest.mark.parametrize("content", ["", "{}\n", "[1]\n", '{"kind": "header", "format": 99}\n'])
def test_a_replay_of_what_is_no_trace(system, command, tmp_path, content):
    junk = tmp_path / "junk"
    junk.write_text(content)
    status, errors = command("run", system(), "--replay", junk)
    assert status == 2
    assert len(errors) == 1
    assert errors[0].startswith(f"ffabric: {junk}")


def test_a_replay_of_another_systems_run(system, command, tmp_path):
    trace = tmp_path / "trace"
    run(system(), seed=1, trace=trace)
    status, errors = command("run", system("Calling"), "--replay", trace)
    assert status == 2
    assert len(errors) == 1
    assert errors[0].endswith("but the record ends")


def test_a_seed_and_a_replay_exclude_each_other(system, command, tmp_path):
    status, errors = command("run", system(), "--seed", 1, "--replay", tmp_path / "any")
    assert status == 2
    assert "exclude each other" in errors[0]


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ("Leaving", ["two crashed: SystemExit: 0", ", in main)", "    sys.exit(0)"]),
        ("GivingUp", ["two crashed: KeyboardInterrupt", ", in main)", "    raise KeyboardInt"]),
    ],
)
def test_a_partition_that_wants_to_end_everything_has_crashed(system, capsys, second, told):
    assert run(system(second)) == 3
    out = capsys.readouterr().out
    assert all(each in out for each in told)


def test_an_interrupted_run_leaves_its_trace(system, command, tmp_path):
    trace = tmp_path / "trace"
    status, errors = command("run", system("Interrupting"), "--trace", trace)
    assert status == 130
    assert errors == ["ffabric: interrupted"]
    assert "call" in kinds(trace)


def test_limits_are_not_below_zero(system):
    with pytest.raises(UsageError, match="--watchdog -1: at least 0"):
        run(system(), watchdog=-1)
    with pytest.raises(UsageError, match=r"--timeout -0\.5: at least 0"):
        run(system(), timeout=-0.5)
    with pytest.raises(UsageError, match="--max-events -1: at least 0"):
        run(system(), max_events=-1)


def test_limits_of_zero_are_none_or_reached_at_once(system):
    assert run(system(), watchdog=0, timeout=0) == 0
    assert run(system(), max_events=0) == 5
