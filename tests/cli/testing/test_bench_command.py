"""ffabric bench: what its options exclude."""

import pytest


def test_a_build_of_hafnium_that_is_not_there_is_a_line(ffabric_command):
    assert ffabric_command("bench", "--hafnium", "/none") == (
        2,
        "",
        "ffabric: /none: No such file or directory\n",
    )


@pytest.mark.parametrize("more", [["--only", "null"], ["--against", "."], ["--explain"]])
def test_hafnium_is_compared_with_alone(ffabric_command, more):
    status, _, error = ffabric_command("bench", "--hafnium", "image", *more)
    assert status == 2
    assert "--hafnium excludes" in error or "--against excludes" in error
