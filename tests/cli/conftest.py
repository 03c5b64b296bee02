"""What commands print is as wide here as in a pipe, whatever terminal the tests run in."""

import pytest

from ffabric.cli.terminal import PIPE_WIDTH


@pytest.fixture(autouse=True)
def width(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(PIPE_WIDTH))
