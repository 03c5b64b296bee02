"""The command ``ffabric study``."""

import json

import pytest

FEW = ("--sizes", "512", "--depths", "1")


def test_a_table_and_a_picture(ffabric_command, tmp_path):
    picture = tmp_path / "dma.svg"
    status, out, _ = ffabric_command("study", "dma", *FEW, "--plot", str(picture))
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["bytes", "depth", "mapping", "calls"]
    assert any("static" in line and " 2.00 " in line for line in lines)
    assert "costs: 300 ns a call" in out
    assert picture.read_text().startswith("<svg")


def test_counts_as_json(ffabric_command):
    status, out, _ = ffabric_command("study", "dma", *FEW, "--json", "-")
    assert status == 0
    assert [row["mapping"] for row in json.loads(out)] == ["dynamic", "queues in advance", "static"]


def test_counts_in_a_file_beside_the_table(ffabric_command, tmp_path):
    counts = tmp_path / "dma.json"
    status, out, _ = ffabric_command("study", "dma", *FEW, "--json", str(counts))
    assert status == 0
    assert len(json.loads(counts.read_text())) == 3
    assert out.splitlines()[0].split()[:4] == ["bytes", "depth", "mapping", "calls"]


def test_costs_of_ones_own(ffabric_command, tmp_path):
    table = tmp_path / "costs.toml"
    table.write_text("call = 1\nworld_switch = 0\npage = 0\nkib = 0\n")
    status, out, _ = ffabric_command("study", "dma", *FEW, "--costs", str(table))
    assert status == 0
    assert "costs: 1 ns a call, 0 a world switch" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sizes", "100"), "not 100"),
        (("--sizes", "0"), "not 0"),
        (("--depths", "3"), "not 3"),
        (("--depths", "64"), "not 64"),
        (("--costs", "nowhere.toml"), "nowhere.toml: No such file"),
    ],
)
def test_what_cannot_be_studied_is_one_line(ffabric_command, words, said):
    status, _, err = ffabric_command("study", "dma", *words)
    assert status == 2
    assert len(err.strip().splitlines()) == 1
    assert said in err


@pytest.mark.parametrize("text", ["call = 'much'", "calls = 1", "call = -1", "call = "])
def test_costs_that_are_none_are_one_line(ffabric_command, tmp_path, text):
    table = tmp_path / "costs.toml"
    table.write_text(text)
    status, _, err = ffabric_command("study", "dma", *FEW, "--costs", str(table))
    assert status == 2
    assert len(err.strip().splitlines()) == 1
    assert "costs.toml" in err


def test_all_mistakes_of_a_table_of_costs_are_told(ffabric_command, tmp_path):
    table = tmp_path / "costs.toml"
    table.write_text("cal = 1\npage = -1\nkib = true\n", encoding="utf-8")
    status, _, err = ffabric_command("study", "dma", *FEW, "--costs", str(table))
    assert status != 0
    assert "cal is none of call, world_switch, page, kib (did you mean 'call'?)" in err
    assert "page is not a number of nanoseconds: -1" in err
    assert "kib is not a number of nanoseconds: True" in err
