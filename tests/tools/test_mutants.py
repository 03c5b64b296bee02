"""Mutants: found again when code moves, lost when it is gone, kept when tests notice them."""

import msgspec
import pytest
from small_project import SOURCE, TAKES_ONE

from mutants import kept, lists, sample, table
from mutants.__main__ import ROOT
from mutants.lists import Equivalent, Kept
from mutants.mutant import Lost, Mutant, functions, mutate, places, whereabouts
from mutants.testing import Copy, Outcome, Verdict


def test_functions_have_qualified_names():
    assert [each.name for each in functions(SOURCE)] == ["Box.put", "Box.take", "Box.take.one"]


def test_a_mutant_changes_its_line_and_nothing_else():
    old, new = SOURCE.splitlines(), mutate(SOURCE, TAKES_ONE).splitlines()
    assert [(a, b) for a, b in zip(old, new, strict=True) if a != b] == [
        ("        self.count += count", "        self.count -= count")
    ]


def test_the_second_of_two_equal_lines_is_another_mutant():
    first = Mutant(
        file="src/box.py", function="Box.take.one", before="self.count -= 1", after="pass"
    )
    second = msgspec.structs.replace(first, nth=1)
    assert len(places(SOURCE, first)) == 2
    assert mutate(SOURCE, first) != mutate(SOURCE, second)


def test_a_mutant_is_found_where_its_function_has_moved(project):
    moved = project / "src/inner/chest.py"
    moved.parent.mkdir()
    (project / "src/box.py").rename(moved)
    moved.write_text("# a line more\n" * 5 + SOURCE)
    assert whereabouts(project, TAKES_ONE, ["src"]) == moved
    assert "self.count -= count" in mutate(moved.read_text(), TAKES_ONE)


def test_a_mutant_in_two_other_files_is_lost(project):
    for name in ("one", "two"):
        (project / f"src/{name}.py").write_text(SOURCE)
    (project / "src/box.py").unlink()
    with pytest.raises(Lost):
        whereabouts(project, TAKES_ONE, ["src"])


@pytest.mark.parametrize(
    "change",
    [{"before": "self.count += 2"}, {"function": "Box.puts"}, {"nth": 1}],
    ids=["line", "function", "occurrence"],
)
def test_a_mutant_whose_code_is_gone_says_what_is_not_there(project, change):
    gone = msgspec.structs.replace(TAKES_ONE, **change)
    with pytest.raises(Lost, match=r"^src/box.py: Box\.puts? has no"):
        whereabouts(project, gone, ["src"])
    with pytest.raises(Lost):
        mutate(SOURCE, gone)


def kept_mutant(**changes):
    return Kept(**{**msgspec.structs.asdict(TAKES_ONE), "tests": ["test_box.py"], **changes})


@pytest.fixture
def says(monkeypatch):
    """Lets no tests run: they say what is wanted of a mutant."""

    def install(verdict):
        outcome = Outcome(verdict, "tests/deep/test_box.py")
        monkeypatch.setattr(Copy, "test", lambda *_: outcome)
        monkeypatch.setattr(Copy, "run", lambda *_, **how: outcome)

    return install


@pytest.mark.parametrize("verdict", [Verdict.KILLED, Verdict.SLOW])
def test_a_kept_mutant_stays_killed(project, says, verdict):
    says(verdict)
    assert list(kept.run(project, ["src"], [kept_mutant()])) == [""]


@pytest.mark.parametrize("verdict", [Verdict.SURVIVED, Verdict.BROKEN])
def test_a_kept_mutant_that_lives_is_named(project, says, verdict):
    says(verdict)
    (wrong,) = kept.run(project, ["src"], [kept_mutant()])
    assert wrong == (
        f"{verdict.value}, by test_box.py: src/box.py: Box.put: "
        "self.count += count  ->  self.count -= count"
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"before": "gone"}, "src/box.py: Box.put has no 'gone' any more"),
        ({"tests": ["test_gone.py"]}, "there is no test file test_gone.py any more"),
    ],
)
def test_a_kept_mutant_whose_code_or_test_is_gone_is_an_error(project, says, changes, why):
    says(Verdict.KILLED)
    (wrong,) = kept.run(project, ["src"], [kept_mutant(**changes)])
    assert wrong == why


def test_tests_that_fail_without_a_mutant_prove_nothing(project, says):
    says(Verdict.KILLED)
    assert "without any mutant" in kept.wrong_without_a_mutant(project, [kept_mutant()])
    says(Verdict.SURVIVED)
    assert kept.wrong_without_a_mutant(project, [kept_mutant()]) == ""


def result(mutant=TAKES_ONE, verdict=Verdict.KILLED, **changes):
    by = "tests/deep/test_box.py"
    return sample.Result(
        **{"mutant": mutant, "verdict": verdict, "by": by, "file": "f", "tests": "t", **changes}
    )


def test_the_list_keeps_what_is_there_and_takes_what_was_killed(project, says):
    says(Verdict.KILLED)
    fresh = msgspec.structs.replace(TAKES_ONE, after="pass")
    lives = msgspec.structs.replace(TAKES_ONE, after="self.count = count")
    present = [kept_mutant(), kept_mutant(before="gone")]
    results = [result(), result(fresh), result(lives, Verdict.SURVIVED)]
    found = kept.keep(project, ["src"], present, results, 10)
    assert [each.after for each in found] == ["self.count -= count", "pass"]


def test_the_list_is_read_as_it_was_written(monkeypatch, tmp_path):
    monkeypatch.setattr(lists, "KEPT", tmp_path / "kept.toml")
    mutants = [
        kept_mutant(before="call(\n    'a',\n    \"b\",\n)", after="pass", nth=1),
        kept_mutant(before="'''x'''\ny", after="'\"'"),
    ]
    lists.write_kept(mutants)
    assert sorted(map(repr, lists.read_kept())) == sorted(map(repr, mutants))


def test_results_are_kept_as_long_as_they_hold(tmp_path):
    task = sample.Task(mutant=TAKES_ONE, tests=[], file_digest="f", tests_digest="t")
    path = tmp_path / "results"
    sample.Store(path).add(result())
    assert sample.Store(path).get(task).verdict is Verdict.KILLED
    changed = msgspec.structs.replace(task, tests_digest="more tests")
    assert sample.Store(path).get(changed) is not None
    assert sample.Store(path).get(msgspec.structs.replace(task, file_digest="other")) is None
    sample.Store(path).add(result(verdict=Verdict.SURVIVED))
    assert sample.Store(path).get(task).verdict is Verdict.SURVIVED
    assert sample.Store(path).get(changed) is None


def test_the_table_counts_by_folder_and_names_what_lives():
    lives = msgspec.structs.replace(TAKES_ONE, after="pass")
    same = msgspec.structs.replace(TAKES_ONE, after="self.count += int(count)")
    results = [result(), result(lives, Verdict.SURVIVED), result(same, Verdict.SURVIVED)]
    equivalent = [Equivalent(**msgspec.structs.asdict(same), reason="it is an integer")]
    lines = list(table.lines(results, equivalent))
    assert lines[1].split() == ["src", "3", "1", "0", "0", "1", "0", "1"]
    assert lines[2].split()[0] == "all"
    assert lines[3] == "50.0 % of 2 killed"
    assert lines[4].startswith("survived: src/box.py: Box.put: ")


def test_real_tests_notice_a_real_mutant(project):
    """This takes a second or two: two runs of pytest."""
    test = project / "tests/deep/test_box.py"
    test.write_text(
        "import box\n\n\ndef test_put():\n    it = box.Box()\n    it.count = 0\n"
        "    assert it.put(2)\n    assert it.count == 2\n"
    )
    name = test.relative_to(project).as_posix()
    with Copy(project) as copy:
        source = mutate(SOURCE, TAKES_ONE)
        assert copy.test(project / "src/box.py", source, [name], 60) == (Verdict.KILLED, name)
        assert copy.run([name], 60) == (Verdict.SURVIVED, "")
        broken = copy.test(project / "src/box.py", "no Python", [name], 60)
        assert broken.verdict is Verdict.BROKEN


def test_the_lists_of_the_project_can_be_read_and_every_test_file_is_there():
    for mutant in lists.read_kept():
        assert kept.test_paths(ROOT, mutant.tests)
    assert all(each.reason for each in lists.read_equivalent())
