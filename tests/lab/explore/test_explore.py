"""Schedules of a scenario: races are found with their bug switched on, and none without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ffabric.lab.explore.scenario import Scenario, ScenarioError, read_scenario
from ffabric.lab.explore.schedule import play
from ffabric.lab.explore.search import as_test, explore
from ffabric.lab.faults.catalogue import find

SCENARIOS = Path(__file__).parent / "scenarios"
RACES = [
    ("haf_eda971da", "interrupts.py", "an interrupt was lost"),
    ("haf_94946a14", "nested.py", "two has interrupted the handler of one"),
    ("ffabric_x2", "two_pes.py", "worker.0 is RUNNING, interrupted for a handler"),
]
"""Of class K: a bug, the scenario in which it shows, and what it breaks."""
BOUND = 3


@pytest.mark.parametrize(("fault", "scenario", "broken"), RACES)
def test_a_race_is_found_with_its_bug(fault, scenario, broken):
    with find(fault).on():
        found = explore(read_scenario(SCENARIOS / scenario), bound=BOUND)
    assert broken in found.failure
    assert not found.complete


@pytest.mark.parametrize("scenario", [each for _, each, _ in RACES])
def test_nothing_is_found_without_a_bug(scenario):
    found = explore(read_scenario(SCENARIOS / scenario), bound=BOUND)
    assert (found.failure, found.complete) == ("", True)


@pytest.mark.parametrize(("fault", "scenario", "broken"), RACES)
def test_no_schedule_with_fewer_departures_breaks_it(fault, scenario, broken):
    read = read_scenario(SCENARIOS / scenario)
    with find(fault).on():
        departures = sum(map(bool, explore(read, bound=BOUND).choices))
        assert departures > 0
        fewer = explore(read, bound=departures - 1)
    assert (fewer.failure, fewer.complete) == ("", True)


@pytest.mark.parametrize(("fault", "scenario", "broken"), RACES)
def test_the_test_that_is_written_plays_the_schedule_again(tmp_path, fault, scenario, broken):
    (tmp_path / scenario).write_text((SCENARIOS / scenario).read_text("utf-8"), "utf-8")
    read = read_scenario(tmp_path / scenario)
    with find(fault).on():
        found = explore(read, bound=BOUND)
    test = tmp_path / "test_found.py"
    test.write_text(as_test(read, found, fault), "utf-8")
    assert f"Broken: {found.failure.partition(':')[0]}" in _pytest(test)
    test.write_text(as_test(read, found), "utf-8")
    assert "1 passed" in _pytest(test)


def _pytest(test):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test.name]
    return subprocess.run(
        command, cwd=test.parent, capture_output=True, text=True, check=False
    ).stdout


def test_all_states_are_told_from_a_bound():
    read = read_scenario(SCENARIOS / "nested.py")
    assert not explore(read, bound=1).whole
    found = explore(read, bound=20)
    assert found.whole
    assert found.states == explore(read, bound=21).states


def test_who_is_interrupted_for_its_own_device_gives_cycles_to_whom_it_has_asked(ffabric):
    ffabric.play("scenarios/interrupts.py", [0, 0, 1])


def test_a_search_may_be_given_up():
    found = explore(read_scenario(SCENARIOS / "nested.py"), most=3)
    assert (found.schedules, found.complete, found.failure) == (3, False, "")


HEAD = "from ffabric import Partition\n"
SERVER = """
class Server(Partition):
    async def on_direct_request(self, request, ffa):
        {body}
        return request.respond(1)

class Client(Partition):
    async def main(self, ffa):
        await ffa.direct_request("server", 1)

def system():
    return {{"sps": [Server()], "vms": [Client()]}}
"""


def scenario_of(tmp_path, text) -> Scenario:
    path = tmp_path / "small.py"
    path.write_text(HEAD + text, "utf-8")
    return read_scenario(path)


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        ("await ffa.idle()", "deadlock: client: "),
        ("while True: await ffa.id_get()", "lasso: 5000 exits, and no end"),
        ("raise ValueError('no')", "crash: server: ValueError: no"),
        ("pass", ""),
    ],
)
def test_what_may_be_wrong_without_a_check(tmp_path, body, failure):
    run = play(scenario_of(tmp_path, SERVER.format(body=body)))
    assert run.failure.startswith(failure)
    assert bool(run.failure) is bool(failure)


def test_a_check_need_say_nothing(tmp_path):
    text = SERVER.format(body="pass") + "\ndef check(system, happened):\n    assert happened\n"
    assert "AssertionError: " in play(scenario_of(tmp_path, text)).failure


def test_the_firmware_may_fail_too(tmp_path):
    text = SERVER.format(body="pass") + "\ndef check(system, happened):\n    1 / 0\n"
    assert "ZeroDivisionError: division by zero" in play(scenario_of(tmp_path, text)).failure


TWO_VMS = """
from ffabric import vm
from ffabric.optee import Driver, OpTee
from ffabric.lab.faults.tee import REST, Sums

INVARIANTS = ["optee"]
sessions = []

class Alice(Partition):
    async def main(self, ffa):
        tee = Driver(ffa)
        await tee.probe()
        sessions.append(await tee.open_session(Sums.uuid))

class Bob(Partition):
    async def main(self, ffa):
        tee = Driver(ffa)
        await tee.probe()
        if sessions:
            try:
                await tee.invoke(sessions[0], REST)
            except Exception:
                pass

def system():
    sessions.clear()
    return {"sps": [OpTee(Sums, vms=2)], "vms": [Alice("alice"), Bob("bob")]}
"""


def test_the_invariants_that_a_scenario_names_are_judged(tmp_path):
    read = scenario_of(tmp_path, TWO_VMS)
    assert play(read).failure == ""
    with find("optee_bank").on():
        assert "bob has used session 0x1 in OP-TEE" in play(read).failure
        assert play(read._replace(invariants=("contexts",))).failure == ""


def test_events_come_once_each_and_after_all_sps_are_there(tmp_path):
    text = SERVER.format(body="pass") + (
        "\ncame = []\ndef event(system):\n    came.append(str(system.sp('server').state))\n"
        "EVENTS = [event]\n"
    )
    read = scenario_of(tmp_path, text)
    assert play(read, [1]).happened == ["event"]
    assert play(read).happened == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def sytem():\n    return {}\n",
            r"there is no function system\(\) \(did you mean 'sytem'",
        ),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("x = (\n", "SyntaxError"),
        ("def system(): return {}\ncheck = 3\n", "check is not a function"),
        ("def system(): return {}\nEVENTS = [3]\n", "EVENTS are functions of the system"),
        ("def system(): return {}\nEVENTS = 3\n", "EVENTS are functions of the system"),
        ("def system(): return {}\nINVARIANTS = 'optee'\n", "INVARIANTS are names, in a list"),
        ("def system(): return {}\nINVARIANTS = ['opte']\n", "did you mean 'optee'"),
    ],
)
def test_a_file_that_is_no_scenario_is_one_line(tmp_path, text, message):
    with pytest.raises(ScenarioError, match=message) as caught:
        scenario_of(tmp_path, text)
    assert "\n" not in str(caught.value)
