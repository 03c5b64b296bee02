"""``--json FILE`` of the commands that also print a table."""

import json

import pytest

BENCH = ["bench", "--only", "null.sp", "--runs", 1, "--seconds", 0]


@pytest.mark.parametrize("option", [["--json", "-"], ["--json=-"]])
def test_a_hyphen_is_standard_output(ffabric_command, option):
    status, out, error = ffabric_command(*BENCH, *option)
    assert (status, error) == (0, "")
    assert json.loads(out)["benchmarks"][0]["name"] == "null.sp"


def test_a_file_is_written_beside_the_table(ffabric_command, tmp_path):
    path = tmp_path / "found.json"
    status, out, _ = ffabric_command(*BENCH, "--json", path)
    assert status == 0
    assert out.startswith("benchmark")
    assert json.loads(path.read_bytes())["format"] == 1


@pytest.mark.parametrize("command", ["bench", "acs"])
def test_another_option_is_no_file(ffabric_command, tmp_path, command):
    arguments = [tmp_path] if command == "acs" else []
    status, out, error = ffabric_command(command, *arguments, "--json", "--only=null.sp")
    assert (status, out) == (2, "")
    assert error == "ffabric: --json needs a file, or -, not --only=null.sp\n"
