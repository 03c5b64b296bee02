"""``ffabric shell``."""

import io
import sys

import pytest

from ffabric.cli.errors import UsageError
from ffabric.cli.reading.shell import shell

SYSTEM = """
[[vm]]
name = "v"
python = "parts.py:Client"
"""
PARTS = """
from ffabric import Partition

class Client(Partition):
    async def main(self, ffa):
        await ffa.id_get()
"""


@pytest.fixture
def system(tmp_path):
    (tmp_path / "parts.py").write_text(PARTS, "utf-8")
    path = tmp_path / "system.toml"
    path.write_text(SYSTEM, "utf-8")
    return path


def test_commands_are_given_on_the_command_line(capsys, system):
    assert shell(system, do="run; back; list") == 0
    assert "FFA_ID_GET" in capsys.readouterr().out


def test_a_command_that_cannot_be_done_has_an_exit_status(capsys, system):
    assert shell(system, do="run; nope; quit; run") == 1
    assert "there is no command 'nope'" in capsys.readouterr().out


def test_commands_come_from_standard_input(capsys, monkeypatch, system):
    monkeypatch.setattr(sys, "stdin", io.StringIO("step\nquit\n"))
    assert shell(system) == 0
    assert "at 1" in capsys.readouterr().out


def test_a_trace_is_known_by_its_content(capsys, system, tmp_path):
    from ffabric.cli.running.run import run

    trace = tmp_path / "anything"
    run(system, trace=trace)
    assert shell(trace, do="run; list 3") == 0
    assert "FFA_ID_GET" in capsys.readouterr().out
    with pytest.raises(UsageError, match="a trace is what it is"):
        shell(trace, seed=1)
    assert shell(system, replay=trace, do="run") == 0


def test_what_cannot_be_is_one_line(system, tmp_path):
    with pytest.raises(UsageError, match="exclude each other"):
        shell(system, seed=1, replay=system)
    broken = tmp_path / "broken"
    broken.write_text("{", "utf-8")
    with pytest.raises(UsageError):
        shell(broken)
    with pytest.raises(OSError, match="No such file"):
        shell(tmp_path / "nothing")
