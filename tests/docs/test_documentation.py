"""What the documentation shows is what happens."""

import re
import sys

import pytest
from documentation import ROOT, Page, blocks

from ffabric.cli.main import COMMANDS

PAGES = sorted(
    path
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if any(block.language in ("python", "console") for block in blocks(path.read_text("utf-8")))
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, where Python finds modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_does_what_it_shows(path, folder):
    page = Page(path, folder)
    page.run()
    assert page.ran


def test_the_readme_lists_the_commands():
    rows = re.findall(r"(?m)^\| `ffabric (\w+)", (ROOT / "README.md").read_text("utf-8"))
    assert list(dict.fromkeys(rows)) == list(COMMANDS)
