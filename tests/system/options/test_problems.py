"""Problems: one line each, and not without end."""

import pytest

from ffabric.system.options.problems import MOST, Problem, Problems, SystemErrors, at_most


def test_a_problem_is_one_line_whatever_is_in_it():
    problem = Problem("a\nb.toml", "[[sp]] \x1b[31mred", "\u2028", "\x85")
    assert str(problem) == "a\\x0ab.toml: [[sp]] \\x1b[31mred: \\u2028: \\x85"


def test_a_problem_is_a_line_that_can_be_read():
    assert str(Problem("", "", "", "x" * 1000)) == "x" * 1000
    assert str(Problem("", "", "", "x" * 1001)) == "x" * 997 + "..."


def test_so_many_problems_are_kept():
    problems = Problems("file")
    for number in range(MOST):
        problems.add("", str(number), "wrong")
    assert (len(problems.found), problems.full) == (MOST, False)
    for key in "ab":
        problems.add("", key, "wrong")
    assert (len(problems.found), problems.full) == (MOST + 1, True)
    assert str(problems.found[-1]) == f"file: more than {MOST} problems"


def test_what_is_said_twice_is_a_line():
    problems = Problems("file")
    for key in ("waive", "waive", "enforce"):
        problems.add("", key, "'no.rule' is not a rule")
    problems.warn("", "waive", "'no.rule' is not a rule")
    said = [str(problem).removeprefix("file: ") for problem in problems.found]
    assert said == [
        f"{key}: 'no.rule' is not a rule" for key in ("waive", "enforce", "warning: waive")
    ]


def test_more_warnings_than_that_are_a_mistake():
    problems = Problems()
    for number in range(MOST):
        problems.warn("", str(number), "odd")
    problems.check(SystemErrors)
    problems.warn("", "a", "odd")
    with pytest.raises(SystemErrors):
        problems.check(SystemErrors)


def test_entries_beyond_the_most_are_left_out():
    problems = Problems()
    assert at_most(2, "ab", "[[sp]]", problems) == "ab"
    assert not problems.found
    assert at_most(1, "ab", "[[sp]]", problems) == "a"
    assert str(problems.found[0]) == "[[sp]]: 2 entries: at most 1 are read"
