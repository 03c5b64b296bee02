"""Which lines stand for a mutant's when one asks who executes it."""

import textwrap

import pytest

from mutants.reach import statement

SOURCE = textwrap.dedent(
    """
    LIMIT = max(
        1,
        2,
    )


    def judge(a, b):
        if (
            a
            or b
        ):
            return a
        for each in (
            b,
        ):
            a += each
        return a
    """
)


@pytest.mark.parametrize(
    ("lines", "those"),
    [
        ([2], {2, 3, 4, 5}),
        ([9], {9, 10, 11, 12}),
        ([13], {13}),
        ([14], {14, 15, 16}),
        ([17, 18], {17, 18}),
        ([7], {7}),
    ],
    ids=["a call", "a condition", "a line of its body", "a loop", "two lines", "between"],
)
def test_a_line_is_that_of_its_statement_without_its_body(lines, those):
    assert statement(SOURCE, lines) == those
