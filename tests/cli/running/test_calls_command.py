"""``ffabric calls``."""

import io
import json
import random
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ffabric.abi.ffa import functions as fid
from ffabric.cli.errors import UsageError
from ffabric.cli.main import main
from ffabric.cli.running.calls import calls
from ffabric.cli.running.run import run

PARTS = """
from ffabric.guests.errors import FfaError
from ffabric.guests.partition import Partition


class Adder(Partition):
    async def on_direct_request(self, request, ffa):
        a, b, *_ = request.payload
        return request.respond(a + b)


class Keeper(Partition):
    async def on_direct_request(self, request, ffa):
        handle, *_ = request.payload
        region = await ffa.retrieve(handle, request.sender)
        await ffa.relinquish(handle)
        return request.respond(region.ranges[0][1])


class Client(Partition):
    async def main(self, ffa):
        for n in range(4):
            await ffa.direct_request("adder", n, n)
            await ffa.yield_()
        handle = await ffa.share(to="keeper", ipa=0x40800000, pages=2)
        await ffa.direct_request("keeper", handle)
        await ffa.reclaim(handle)
        try:
            await ffa.direct_request(0x8077)
        except FfaError:
            await ffa.console_log("done\\n")
"""

SYSTEM = """
pes = 2
[[sp]]
name = "adder"
python = "parts.py:Adder"
vcpus = 2
[[sp]]
name = "keeper"
python = "parts.py:Keeper"
[[vm]]
name = "one"
python = "parts.py:Client"
"""
ANOTHER = """
[[vm]]
name = "two"
python = "parts.py:Client"
"""
ENDPOINTS = "vm1, vm2, sp1, sp2, sp3, sp4"
VERSION = '{"endpoint": "vm1", "x": ["0x84000063", "0x10002"]}'
ID_GET = '{"endpoint": "vm2", "x": ["0x84000069"]}'


@pytest.fixture
def system(tmp_path):
    """The file of a system: two SPs and a VM that calls them."""
    (tmp_path / "parts.py").write_text(PARTS)
    path = tmp_path / "system.toml"
    path.write_text(SYSTEM)
    return path


@pytest.fixture
def crowd(system):
    """The same with another VM, so that one may find an SP busy with the other."""
    system.write_text(SYSTEM + ANOTHER)
    return system


@pytest.fixture
def file(tmp_path):
    """Writes lines to a file of calls."""

    def write(*lines):
        path = tmp_path / "calls.jsonl"
        path.write_bytes(b"\n".join(x if isinstance(x, bytes) else x.encode() for x in lines))
        return path

    return write


@pytest.fixture
def answers(capsys):
    """Runs the command: its exit status and its answers."""

    def play(*args, **options):
        capsys.readouterr()
        status = calls(*args, **options)
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return play


def numbers(x):
    """Registers without the zeros behind them."""
    found = [int(each, 16) for each in x]
    while found and not found[-1]:
        found.pop()
    return found


def returns(trace):
    """The number of each call's line -> the registers with which the trace says it returned."""
    made, found = {}, {}
    for number, line in enumerate(map(json.loads, trace.read_bytes().splitlines()), 1):
        who = line.get("endpoint"), line.get("vcpu")
        if line["kind"] == "call":
            made[who] = number
        elif line["kind"] == "return" and who in made:
            found[made.pop(who)] = numbers(line["x"])
    return found


def test_every_line_is_answered_by_one(file, answers):
    status, found = answers(file(VERSION, "", ID_GET))

    assert status == 0
    assert [(each["line"], each["endpoint"]) for each in found] == [(1, "vm1"), (3, "vm2")]
    assert numbers(found[1]["x"]) == [fid.FFA_SUCCESS_32, 0, 2]


def test_a_refused_call_was_executed(file, answers):
    status, (answer,) = answers(file('{"endpoint": "vm1", "x": ["0x8400006f", "0x28001"]}'))

    assert status == 0
    assert answer["refused"]["rule"] == "direct.req.sender"


def test_a_line_that_cannot_be_executed_is_status_1(file, answers):
    status, found = answers(file('{"endpoint": "vm1", "read": [[0, 1]]}', ID_GET))

    assert status == 1
    assert "translation fault" in found[0]["error"]
    assert "x" in found[1]


@pytest.mark.parametrize("seed", [None, 3])
def test_a_trace_fed_back_gives_the_answers_it_records(crowd, tmp_path, answers, seed):
    trace = tmp_path / "run.jsonl"
    run(crowd, trace=trace, seed=seed)
    status, found = answers(trace, system=crowd)

    recorded = returns(trace)
    got = {each["line"]: numbers(each["x"]) for each in found if "x" in each}
    assert status == 0
    assert len(recorded) > 30
    assert {number: got.get(number) for number in recorded} == recorded


def test_partitions_that_no_line_names_answer_by_themselves(system, tmp_path, answers, file):
    trace = tmp_path / "run.jsonl"
    run(system, trace=trace)
    recorded = returns(trace)
    lines = trace.read_text().splitlines()
    vm = [line if '"endpoint":"one"' in line else "" for line in lines]
    status, found = answers(file(*vm), system=system)

    got = {each["line"]: numbers(each["x"]) for each in found}
    assert status == 0
    assert got
    assert got == {number: x for number, x in recorded.items() if number in got}


def test_the_calls_leave_a_trace_that_is_a_file_of_calls(file, tmp_path, answers):
    request = '{"endpoint": "vm1", "x": ["0x8400006f", "0x18001", 0, 7]}'
    response = '{"endpoint": "sp1", "x": ["0x84000070", "0x80010001", 0, 8]}'
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    answers(file(VERSION, request, response, ID_GET), trace=first)
    status, found = answers(first, trace=second)

    assert status == 0
    assert first.read_bytes() == second.read_bytes()
    got = {each["line"]: numbers(each["x"]) for each in found if "x" in each}
    recorded = returns(first)
    assert {number: got.get(number) for number in recorded} == recorded


def test_all_mistakes_of_a_file_are_told_before_anything_is_executed(file, capsys):
    path = file(VERSION, '{"endpoint": "vm1", "x": ["z"]}', '{"endpoint": "vm9", "x": [1]}', "{")
    with pytest.raises(UsageError) as wrong:
        calls(path)

    assert str(wrong.value).splitlines() == [
        f"{path}:2: x[0]: 'z' is not a number",
        f"{path}:3: there is no endpoint 'vm9' (did you mean 'vm2'?); the system has {ENDPOINTS}",
        f"{path}:4: not JSON: Input data was truncated",
    ]
    assert capsys.readouterr().out == ""


def test_many_mistakes_are_counted(file):
    with pytest.raises(UsageError, match=r"and 150 mistakes more$"):
        calls(file(*["{"] * 250))


def test_a_trace_of_another_system_names_what_this_one_has(system, tmp_path):
    trace = tmp_path / "run.jsonl"
    run(system, trace=trace)

    with pytest.raises(UsageError) as wrong:
        calls(trace)
    assert str(wrong.value) == (
        f"{trace}:3: there are no endpoints 'adder', 'keeper', 'one'; "
        "the system has vm1, vm2, sp1, sp2, sp3, sp4"
    )


@pytest.fixture
def piped(monkeypatch, capsys):
    """Runs ``ffabric calls`` with lines on its standard input: status, answers, errors."""

    def play(*lines, arguments=()):
        data = io.BytesIO("\n".join(lines).encode())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
        monkeypatch.setattr(sys, "argv", ["ffabric", "calls", "-", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code, [json.loads(x) for x in printed.out.splitlines()], printed.err

    return play


def test_standard_input_is_executed_line_by_line(piped):
    status, found, errors = piped(VERSION, '{"endpont": "vm1"}', ID_GET)

    assert status == 2
    assert [each["line"] for each in found] == [1, 2, 3]
    assert numbers(found[2]["x"]) == [fid.FFA_SUCCESS_32, 0, 2]
    assert "did you mean 'endpoint'?" in found[1]["error"]
    assert errors.splitlines()[0] == (
        "ffabric: standard input:2: there is no key 'endpont' (did you mean 'endpoint'?)"
    )


def test_standard_input_is_read_whole_for_a_system_of_ones_own(piped, system):
    line = ID_GET.replace("vm2", "one")
    status, found, errors = piped(line, arguments=["--system", str(system)])

    assert (status, errors) == (0, "")
    assert numbers(found[0]["x"]) == [fid.FFA_SUCCESS_32, 0, 1]


def test_an_unknown_option_is_no_file(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ffabric", "calls", "--nope"])
    with pytest.raises(SystemExit) as end:
        main()

    assert end.value.code == 2
    assert capsys.readouterr().err == "ffabric: calls: unknown option --nope\n"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
@example(b"\x7fELF\x02\x01\x01\0\n\xff\xfe")
def test_whatever_the_file_it_is_played_or_its_mistakes_are_told(file, data):
    path = file(data)
    try:
        assert calls(path) == 0
    except UsageError as wrong:
        told = str(wrong).splitlines()
        if not all(line.startswith(f"{path}:") for line in told):
            raise


def test_thousands_of_random_calls_are_answered(file, answers):
    chance = random.Random(20)
    ids = [1, 2, 0x8001, 0x8002, 0x8003, 0x8004]
    functions = sorted(set(fid.FUNCTIONS) - {fid.FFA_ERROR})

    def line():
        both = chance.choice(ids) << 16 | chance.choice(ids)
        more = [chance.choice([both, 0, 1, chance.getrandbits(64)]) for _ in range(7)]
        x = [hex(each) for each in (chance.choice(functions), *more)]
        endpoint = chance.choice(["vm1", "vm2", "sp1", "sp2", "sp3", "sp4"])
        return json.dumps({"endpoint": endpoint, "pe": chance.randrange(2), "x": x})

    _, found = answers(file(*[line() for _ in range(3000)]))

    first = dict.fromkeys(each["line"] for each in found if each["line"] and "resumed" not in each)
    assert list(first) == list(range(1, 3001))
    assert sum("refused" in each for each in found) > 1000
