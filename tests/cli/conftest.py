"""The command line as a user has it."""

import sys

import pytest

from ffabric.cli.main import main


@pytest.fixture
def ffabric_command(monkeypatch, capsys):
    """Runs ``ffabric`` with arguments: its exit status, its output, its errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ffabric", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return run


@pytest.fixture
def run_afresh(ffabric_command, monkeypatch, tmp_path):
    """The same in an empty folder, with nothing downloaded before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return ffabric_command
