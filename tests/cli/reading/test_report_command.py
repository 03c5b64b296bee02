"""``ffabric report``."""

import pytest

from ffabric.cli.errors import UsageError
from ffabric.cli.reading.report import report
from ffabric.observe.lines import Header, write


@pytest.fixture
def trace(tmp_path):
    file = tmp_path / "run.jsonl"
    file.write_text(write(Header(2, "system", 1, True, {"vm": 1}, {})))
    return file


def test_the_page_is_beside_the_trace(trace, capsys):
    assert report(trace) == 0
    page = trace.with_suffix(".html")
    assert capsys.readouterr().out.strip() == str(page)
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_the_page_is_where_it_is_wanted(trace, tmp_path):
    assert report(trace, output=tmp_path / "page.html") == 0
    assert (tmp_path / "page.html").exists()


def test_a_trace_is_not_overwritten(trace):
    before = trace.read_bytes()
    with pytest.raises(UsageError, match="overwrite"):
        report(trace, output=trace)
    assert trace.read_bytes() == before


def test_what_is_no_trace_leaves_no_page(tmp_path):
    file = tmp_path / "run.jsonl"
    file.write_text("nothing of the kind\n")
    with pytest.raises(UsageError, match=r"run\.jsonl:1: not a line of a trace"):
        report(file)
    assert not file.with_suffix(".html").exists()
