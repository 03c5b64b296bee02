"""Signals that ask a command to end: nothing is left running, traces are whole, a line says it.

A command is started in a session of its own, with a few lines before it: the machine's run number
so and so sends the signal to the command, in the middle of the run.
"""

import json
import os
import select
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from small_suite import lay_out

from ffabric.lab.fuzz.campaign import PAIRS, Plan, State, campaign, load
from ffabric.lab.processes import Players, spread
from ffabric.machine.machine import Machine

MOMENT = """
import multiprocessing, os, sys
from ffabric.cli.main import main
from ffabric.machine.machine import Machine

runs, number, command = int(sys.argv.pop(1)), int(sys.argv.pop(1)), os.getpid()
if runs:
    multiprocessing.set_start_method("fork")  # the processes of the command have the moment, too
run = Machine.run

def run_until_the_moment(machine):
    global runs
    runs -= 1
    if not runs:
        machine.clock.at(machine.clock.now, lambda: os.kill(command, number))
    run(machine)

Machine.run = run_until_the_moment
main()
"""
PATIENCE = 60
"""Seconds after which a process is said to go on."""
SAID = {
    signal.SIGINT: (130, "ffabric: interrupted\n"),
    signal.SIGTERM: (143, "ffabric: terminated\n"),
    signal.SIGHUP: (129, "ffabric: hung up\n"),
}
both = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
SYSTEM = """
[[vm]]
name = "talker"
python = "talker.py:Talker"
"""
TALKER = """
from ffabric.guests.partition import Partition


class Talker(Partition):
    async def main(self, ffa):
        while True:
            await ffa.console_log("on and on")
"""
CALL = b'{"endpoint": "vm1", "x": ["0x84000069"]}\n'


def started(*arguments, runs=0, number=0, **options):
    """A command whose machines' run number ``runs`` sends it the signal ``number``."""
    return subprocess.Popen(
        [sys.executable, "-c", MOMENT, str(runs), str(int(number)), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **options,
    )


def ended(process):
    """How it ended: exit status, standard output, standard error. Nothing of it may be left.

    A helper of multiprocessing ends by itself when its parent has: that is waited for.
    """
    with process:
        try:
            out, error = process.stdout.read(), process.stderr.read()
            process.wait()
            for pid in session(process.pid):
                assert has_ended(pid), "it goes on"
        finally:
            for pid in session(process.pid):
                os.kill(pid, signal.SIGKILL)
    return process.returncode, out.decode(), error.decode()


def has_ended(pid):
    """Wait for the end of a process that is not ours; False if it is still there after all."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], PATIENCE)[0])
    finally:
        os.close(fd)


def session(leader):
    """The processes of a session, but for those that have ended and that nobody has waited for."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, number = path.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(number) == leader and state != "Z":
            found.append(int(path.parent.name))
    return found


def kinds(trace):
    """The kinds of the lines of a trace, all of which are whole."""
    data = trace.read_bytes()
    assert data.endswith(b"\n")
    return [json.loads(line)["kind"] for line in data.splitlines()]


@pytest.fixture
def system(tmp_path):
    (tmp_path / "talker.py").write_text(TALKER)
    path = tmp_path / "system.toml"
    path.write_text(SYSTEM)
    return path


@pytest.mark.parametrize("number", [*SAID])
@pytest.mark.parametrize("verbose", [[], ["--verbose"]])
def test_a_run_leaves_its_trace(system, tmp_path, number, verbose):
    trace = tmp_path / "trace"
    process = started("run", system, "--trace", trace, *verbose, runs=1, number=number)
    status, out, error = ended(process)
    assert (status, error) == SAID[number]
    assert f"the run ended: {error[9:]}" in out
    found = kinds(trace)
    assert found[0] == "header"
    assert "call" in found


@both
def test_the_demo_leaves_its_trace(tmp_path, number):
    trace = tmp_path / "trace"
    status, _, error = ended(started("demo", "--trace", trace, runs=3, number=number))
    assert (status, error) == SAID[number]
    found = kinds(trace)
    assert found.count("scene") == 3
    assert found[-1] == "choices"


@both
def test_calls_leave_their_trace_in_the_middle_of_a_call(tmp_path, number):
    trace = tmp_path / "trace"
    process = started("calls", "-", "--trace", trace, runs=30, number=number)
    process.stdin.write(CALL * 100)
    process.stdin.flush()
    status, out, error = ended(process)
    assert (status, error) == SAID[number]
    assert 0 < out.count("\n") < 100
    assert kinds(trace).count("call") >= out.count("\n")


@both
def test_calls_leave_their_trace_while_they_wait_for_another(tmp_path, number):
    trace = tmp_path / "trace"
    process = started("calls", "-", "--trace", trace)
    process.stdin.write(CALL)
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["line"] == 1
    process.send_signal(number)
    status, _, error = ended(process)
    assert (status, error) == SAID[number]
    assert "call" in kinds(trace)


@both
def test_an_episode_leaves_its_trace(tmp_path, number):
    trace = tmp_path / "trace"
    arguments = "fuzz", "--replay", "1/0/2500", "--trace", trace
    status, out, error = ended(started(*arguments, runs=40, number=number))
    assert (status, error) == (SAID[number][0], "")
    assert out.endswith("; nothing was wrong so far\n")
    assert "call" in kinds(trace)


@both
@pytest.mark.parametrize(
    "arguments",
    [["fuzz", "--calls", "100000000"], ["demo", "--seeds", "100000"]],
    ids=lambda words: words[0],
)
def test_processes_end_with_their_command(arguments, number):
    status, _, _ = ended(started(*arguments, "--processes", 2, runs=9, number=number))
    assert status == SAID[number][0]


PLAN = Plan(PAIRS, 3, 16)


@pytest.fixture(scope="module")
def runs_of_three_pairs():
    """How often the machines of a campaign run, in one process, until it has played three pairs."""
    runs = 0
    run = Machine.run

    def counted(machine):
        nonlocal runs
        runs += 1
        run(machine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Machine, "run", counted)
        assert len([*islice(campaign(State(PLAN), Players(spread, 1)), 3)]) == 3
    return runs


@both
@pytest.mark.parametrize("processes", [1, 2])
def test_a_campaign_keeps_what_is_done_and_goes_on_there(
    tmp_path, number, processes, runs_of_three_pairs
):
    plan, state = PLAN, tmp_path / "campaign.json"
    arguments = "fuzz", "--pairs", "--sample", 16, "--seed", 3, "--state", state
    options = "--processes", processes
    process = started(*arguments, *options, runs=runs_of_three_pairs, number=number)
    assert ended(process)[0] == SAID[number][0]
    kept = load(state, plan)
    played = kept.played
    assert processes > 1 or played
    assert played < 16
    assert len([*campaign(kept, Players(spread, 1))]) == 16 - played
    whole = State(plan)
    assert len([*campaign(whole, Players(spread, 1))]) == 16
    assert kept.digest == whole.digest


@both
def test_processes_that_boot_a_suite_end_and_leave_their_logs(tmp_path, number):
    logs = tmp_path / "logs"
    arguments = "acs", lay_out(tmp_path), "--boot-per-test", "--processes", 2, "--logs", logs
    never = "--timeout", 1e9, "--max-exits", 10**15, "--max-seconds", 1e9
    process = started(*arguments, *never, runs=1, number=number)
    assert ended(process) == (SAID[number][0], "", SAID[number][1])
    begun = [trace for trace in logs.glob("*.jsonl") if trace.stat().st_size]
    assert {kinds(trace)[0] for trace in begun} == {"header"}
    assert any(trace.with_suffix(".log").exists() for trace in begun)


@both
def test_no_daemon_and_no_file_is_left_of_a_disk(tmp_path, number):
    folder = tmp_path / "t"  # the address of a socket in it has 107 bytes at most
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder)}
    process = started("vhost", "--size", 8, runs=1, number=number, env=environment)
    status, _, error = ended(process)
    assert (status, error) == SAID[number]
    assert [*folder.iterdir()] == []


@both
@pytest.mark.parametrize("asked", [[], ["--pkvm"], ["--disk", "image"]], ids=str)
def test_no_qemu_is_left_of_linux_and_one_cause_is_told(packages, tmp_path, number, asked):
    (tmp_path / "image").write_bytes(bytes(0x10000))
    trace = tmp_path / "trace"
    arguments = "linux", "--packages", packages, "--trace", trace, *asked
    status, out, error = ended(started(*arguments, runs=1, number=number, cwd=tmp_path))
    assert (status, error) == SAID[number]
    assert kinds(trace)[0] == "header"
    failed = f"FAILED: {error[9:]}Linux's console is in linux.console.log\n"
    assert out.endswith(failed)
    assert out.count("FAILED") == 1
    assert (tmp_path / "linux.console.log").exists()


@both
def test_what_conform_has_judged_so_far_is_told(number):
    status, out, error = ended(started("virtio", "conform", runs=4, number=number))
    assert (status, error) == SAID[number]
    assert out.endswith(f"FAILED: {error[9:-1]}: the rest has not been tried\n")
    assert " passed, " in out.splitlines()[-2]


@both
def test_a_benchmark_ends(number):
    status, out, error = ended(started("bench", "--only", "null", runs=2, number=number))
    assert (status, out, error) == (SAID[number][0], "", SAID[number][1])


@both
def test_a_command_that_reads_ends(number):
    process = started("explain")
    process.stdin.write(b"0x84000063 0x10002\n" * 1000)
    process.stdin.flush()
    assert process.stdout.read(1) == b">"
    process.send_signal(number)
    status, _, error = ended(process)
    assert (status, error) == SAID[number]


def test_a_signal_that_is_ignored_stays_ignored(system):
    """As nohup has it."""
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
    code += "from ffabric.cli.main import main; main()"
    command = [sys.executable, "-c", code, "calls", "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(CALL)
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(CALL, timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["line"] == 2
