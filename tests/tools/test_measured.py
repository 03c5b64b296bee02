"""What tests execute: shares of packages with their floors, and rules tried both ways."""

import ast
import json
from pathlib import Path

import msgspec
import pytest
from coverage import CoverageData

from ffabric.abi.ffa.functions import FFA_MSG_SEND_DIRECT_RESP_32
from ffabric.firmware.state.rules import RULES, Refused
from measured import book, refusals
from measured.__main__ import KNOWN, Known
from measured.floors import Share, below, shares, table
from measured.passes import has_passed, only_refuses
from measured.rules import Uncovered, differences, uncovered
from measured.run import run_tests

JUDGED = """
def judged(x):
    if x > 3:
        refuse(BIG)
    elif (
        x < 0
    ):
        refuse(SMALL)
    else:
        refuse(REST)
    return x


def parsed(data):
    try:
        x = decode(data)
        y = x
    except DecodeError:
        refuse(BAD)
    return y


def found(x, known):
    for each in known:
        if each == x:
            return each
    refuse(UNKNOWN)


def deny(x):
    refuse(DENIED, got=x)


def asked(x):
    if x.model is None:
        deny(x)
    if x.looked[3].up:
        return HANDLERS[x.call](x)
    return x
"""
LINES = {line.strip(): n for n, line in enumerate(JUDGED.splitlines(), 1)}


@pytest.mark.parametrize(
    ("refusal", "arcs", "passed"),
    [
        ("refuse(BIG)", [("if x > 3:", "refuse(BIG)")], False),
        ("refuse(BIG)", [("if x > 3:", "elif (")], True),
        ("refuse(SMALL)", [("if x > 3:", "elif (")], False),
        ("refuse(SMALL)", [("x < 0", "refuse(SMALL)")], False),
        ("refuse(SMALL)", [("x < 0", "refuse(REST)")], True),
        ("refuse(REST)", [("x < 0", "refuse(REST)")], False),
        ("refuse(REST)", [("x < 0", "refuse(SMALL)")], True),
        ("refuse(BAD)", [("x = decode(data)", "except DecodeError:")], False),
        ("refuse(BAD)", [("x = decode(data)", "y = x")], False),
        ("refuse(BAD)", [("y = x", "return y")], True),
        ("refuse(UNKNOWN)", [("for each in known:", "refuse(UNKNOWN)")], False),
        ("refuse(UNKNOWN)", [("refuse(UNKNOWN)", -1)], False),
        ("refuse(UNKNOWN)", [("return each", -1)], True),
    ],
)
def test_a_call_passes_where_another_way_is_taken(refusal, arcs, passed):
    numbers = [tuple(LINES.get(end, end) for end in arc) for arc in arcs]
    assert has_passed(ast.parse(JUDGED), LINES[refusal], numbers) is passed


@pytest.mark.parametrize(
    ("call", "arcs", "passed"),
    [
        ("deny(x)", [("if x.model is None:", "deny(x)")], False),
        ("deny(x)", [("if x.model is None:", "if x.looked[3].up:")], True),
        (
            "return HANDLERS[x.call](x)",
            [("if x.looked[3].up:", "return HANDLERS[x.call](x)")],
            False,
        ),
        ("return HANDLERS[x.call](x)", [("return HANDLERS[x.call](x)", -1)], True),
        ("if x.looked[3].up:", [("if x.model is None:", "if x.looked[3].up:")], False),
        ("if x.looked[3].up:", [("if x.looked[3].up:", "return HANDLERS[x.call](x)")], True),
    ],
)
def test_who_calls_what_does_nothing_but_refuse_is_passed_when_it_goes_on(call, arcs, passed):
    numbers = [tuple(LINES.get(end, end) for end in arc) for arc in arcs]
    assert has_passed(ast.parse(JUDGED), LINES[call], numbers, called=True) is passed


@pytest.mark.parametrize(
    ("line", "refuser", "only"),
    [
        ("refuse(DENIED, got=x)", "refuse", True),
        ("refuse(BIG)", "refuse", False),
        ("refuse(UNKNOWN)", "refuse", False),
        ("deny(x)", "deny", False),
        ("refuse(DENIED, got=x)", "deny", False),
    ],
)
def test_a_function_without_another_way_does_nothing_but_refuse(line, refuser, only):
    assert only_refuses(ast.parse(JUDGED), LINES[line], refuser) is only


def test_a_refusal_is_noted_where_it_is_made(ffabric, monkeypatch, tmp_path):
    monkeypatch.setattr(refusals, "_seen", set())
    monkeypatch.setattr(Refused, "__init__", refusals._note)
    monkeypatch.setenv(refusals.FOLDER, str(tmp_path))
    client = ffabric.boot(vms=["client"], sps=["sp"]).vm("client").ffa
    with ffabric.refuses("mem.share.unaligned_base"):
        client.share(ipa=0x1001, pages=1, to="sp")
    refusals.write()
    (found,) = refusals.read(tmp_path)
    assert found.rule == "mem.share.unaligned_base"
    source = Path(found.file).read_text("utf-8").splitlines()
    assert "refuse(" in source[found.line - 1]


def test_what_a_function_refuses_that_does_nothing_else_is_noted_where_it_is_called(
    ffabric, monkeypatch, tmp_path
):
    monkeypatch.setattr(refusals, "_seen", set())
    monkeypatch.setattr(Refused, "__init__", refusals._note)
    monkeypatch.setenv(refusals.FOLDER, str(tmp_path))
    client = ffabric.boot(vms=["client"], sps=["sp"]).vm("client").ffa
    with ffabric.refuses("runtime.transition"):
        client.call(FFA_MSG_SEND_DIRECT_RESP_32)
    with ffabric.refuses("mem.handle"):
        client.reclaim(0x77)
    refusals.write()
    noted = {each.rule: each for each in refusals.read(tmp_path)}
    transition, handle = noted["runtime.transition"], noted["mem.handle"]
    assert transition.called
    assert handle.called
    for found, text in ((transition, "deny("), (handle, ".live[")):
        assert text in Path(found.file).read_text("utf-8").splitlines()[found.line - 1]


def report(**files):
    names = ("num_statements", "missing_lines", "num_branches", "missing_branches")
    return json.dumps(
        {
            "files": {
                f"/src/{name.replace('__', '/')}.py": {
                    "summary": dict(zip(names, numbers, strict=True))
                }
                for name, numbers in files.items()
            }
        }
    ).encode()


def test_a_package_is_counted_as_a_whole_the_firmware_by_its_folders():
    files = report(
        abi__ffa__memory=(10, 1, 4, 1),
        abi__bits=(10, 0, 0, 0),
        firmware__spmc__deep__calls=(4, 1, 0, 0),
        firmware__state__rules=(2, 0, 2, 1),
        top=(1, 0, 0, 0),
    )
    assert shares(files, Path("/src")) == {
        "abi": Share(95, 75),
        "firmware.spmc": Share(75, 100),
        "firmware.state": Share(100, 50),
        "ffabric": Share(100, 100),
    }


def test_what_is_below_its_floor_is_named_and_what_is_at_it_is_not():
    floors = {"abi": Share(90, 80), "lab": Share(50, 50)}
    found = {"abi": Share(90, 79.6), "lab": Share(49, 50)}
    assert list(below(found, floors)) == ["lab: 49.0 % of lines, the floor is 50.0 %"]
    assert list(below({"new": Share(1, 1)}, {"gone": Share(1, 1)})) == [
        "gone: there is no such package",
        "new: no floor",
    ]
    assert [line.split()[0] for line in table(found, floors)] == ["package", "abi", "lab"]


class Data:
    """What coverage.py has seen in one file."""

    def __init__(self, arcs):
        self._arcs = arcs

    def arcs(self, file):
        return self._arcs


def test_rules_that_are_not_tried_both_ways_are_listed(tmp_path):
    file = tmp_path / "judged.py"
    file.write_text(JUDGED)
    first, second, *rest = sorted(rule.id for rule in RULES)
    noted = [
        refusals.Refusal(first, str(file), LINES["refuse(BIG)"]),
        refusals.Refusal(second, str(file), LINES["refuse(SMALL)"]),
        refusals.Refusal(rest[0], "/elsewhere.py", 3),
    ]
    found = uncovered(noted, Data([(LINES["if x > 3:"], LINES["elif ("])]), tmp_path)  # type: ignore[arg-type]
    assert found == Uncovered(rest, [second])

    known = Uncovered([*rest[1:], first], [second])
    assert list(differences(found, known)) == [
        f"rule {rest[0]}: not refused by any test",
        f"rule {first}: no longer not refused: take it out of the list",
    ]


def test_every_rule_in_the_list_exists():
    known = msgspec.toml.decode(KNOWN.read_bytes(), type=Known)
    assert all(each in RULES for each in (*known.rules.not_refused, *known.rules.not_passed))


FILE = "tests/firmware/test_judged.py"


def test_the_tests_of_a_rule_are_those_that_are_refused_and_those_that_pass(monkeypatch, tmp_path):
    file = tmp_path / "judged.py"
    file.write_text(JUDGED)
    monkeypatch.setattr(book, "SOURCES", tmp_path)
    rule = min(rule.id for rule in RULES)
    noted = [
        refusals.Refusal(rule, str(file), LINES["refuse(BIG)"], f"{FILE}::test_big[4]"),
        refusals.Refusal(rule, "/elsewhere.py", 3, f"{FILE}::test_elsewhere"),
    ]
    seen = {
        str(file): {
            (LINES["if x > 3:"], LINES["refuse(BIG)"]): {f"{FILE}::test_big"},
            (LINES["if x > 3:"], LINES["elif ("]): {f"{FILE}::test_small", ""},
        }
    }
    tried = book.book(noted, seen)
    assert tried == {rule: book.Entry([f"{FILE}::test_big"], [f"{FILE}::test_small"])}
    assert [*book.differences(tried, tried)] == []
    other = {rule: book.Entry([f"{FILE}::test_small"])}
    assert [*book.differences(tried, other)] == [f"rule {rule}: not refused in {FILE}::test_small"]
    others = sorted({each.id for each in RULES} - {rule})
    assert [*book.unlisted(tried)] == [f"rule {each}: not in the list" for each in others]


def test_no_test_that_goes_by_chance_is_named():
    """A state machine of Hypothesis breaks a rule in one run and not in the next."""
    rule = min(rule.id for rule in RULES)
    steady, machine = f"{__file__}::test_big", f"{__file__}::TestMachine::runTest"
    tried = {rule: book.Entry([machine, steady], [machine])}
    assert book.chosen(tried) == {rule: book.Entry([steady], [])}


def test_rules_of_rooms_that_are_loaded_on_demand_are_there():
    assert "optee.pages" in {each.id for each in RULES}


def test_the_tests_in_the_list_of_rules_exist():
    entries = book.read()
    for rule, entry in entries.items():
        assert rule in RULES, f"{rule} is gone: make rules"
        assert entry.refused, rule
    for test in book.named(entries):
        path, name, *_ = test.split("::")
        assert name in (book.ROOT / path).read_text("utf-8"), f"{test} is gone: make rules"


STARTS_OTHERS = """
import multiprocessing, pathlib, subprocess, sys
import near

def test_others():
    here = pathlib.Path(__file__).parent
    subprocess.run([sys.executable, "-c", "import far"], cwd=here, check=True)
    other = multiprocessing.get_context("fork").Process(target=near.forked)
    other.start()
    other.join()
"""


def test_what_other_processes_execute_is_measured(tmp_path):
    (tmp_path / "sources").mkdir()
    near, far, test = (tmp_path / "sources" / name for name in ("near.py", "far.py", "test_a.py"))
    near.write_text("def forked():\n    print()\n\ndef unused():\n    print()\n")
    far.write_text("far = 1\n")
    test.write_text(STARTS_OTHERS)

    words = ["-pmeasured.contexts", "-pno:cacheprovider", str(test)]
    assert run_tests(tmp_path, words, source=test.parent) == 0
    data = CoverageData(str(tmp_path / "coverage"))
    data.read()

    assert data.lines(str(far)) == [1]
    assert sorted(data.lines(str(near)) or ()) == [1, 2, 4]
    assert any(name.endswith("test_a.py::test_others") for name in data.measured_contexts())
