"""The command line as a whole: what it ends with, and what it prints when it cannot."""

import importlib
import os
import subprocess
import sys

import pytest

from ffabric import __version__
from ffabric.abi.errors import DecodeError
from ffabric.cli import main as command_line
from ffabric.cli.errors import UsageError, lines_of
from ffabric.cli.main import COMMANDS
from ffabric.machine.engines import compiled


@pytest.fixture
def failing(monkeypatch):
    """Makes a command ``fail`` that raises an error."""

    def install(error):
        def fail():
            raise error

        monkeypatch.setattr(command_line, "raising", fail, raising=False)
        monkeypatch.setitem(COMMANDS, "fail", ("ffabric.cli.main:raising", "Fail."))

    return install


def test_the_version_is_printed_and_which_inner_loop_there_is(ffabric_command, monkeypatch):
    monkeypatch.setenv(compiled.VARIABLE, "python")
    line = "inner loop of images: in Python (FFABRIC_INNER_LOOP says so)"
    assert ffabric_command("--version") == (0, f"{__version__}\n{line}\n", "")


def test_an_inner_loop_that_nobody_knows_is_a_line(ffabric_command, monkeypatch):
    monkeypatch.setenv(compiled.VARIABLE, "rust")
    status, out, error = ffabric_command("--version")
    assert (status, out) == (2, f"{__version__}\n")
    assert error == "ffabric: FFABRIC_INNER_LOOP is 'rust', neither 'c' nor 'python'\n"


def test_help_names_every_command(ffabric_command):
    status, out, _ = ffabric_command("--help")

    assert status == 0
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_the_table_exists(name):
    module, _, function = COMMANDS[name][0].partition(":")

    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nope"], "ffabric: 'nope' is not a command; ffabric --help lists"),
        (["--nope"], "ffabric: '--nope' is not an option; ffabric --help lists"),
        (["manifest"], "ffabric: manifest: name at least one file"),
        (["manifest", "x.dts", "--nope"], "ffabric: manifest: --nope is none of its options"),
        (["run"], "ffabric: run: SYSTEM is missing"),
        (["run", "x.toml", "--seed", "many"], "ffabric: run: --seed: 'many' is not a whole number"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(ffabric_command, arguments, line):
    status, out, err = ffabric_command(*arguments)

    assert (status, out) == (2, "")
    assert err.startswith(line)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UsageError("there is no such thing"), "there is no such thing"),
        (DecodeError("header.magic", 4, 7, "is not ffa"), "header.magic"),
        (FileNotFoundError(2, "No such file or directory", "a.toml"), "a.toml: No such file"),
        (PermissionError("not allowed"), "not allowed"),
    ],
)
def test_what_the_user_can_mend_is_no_traceback(ffabric_command, failing, error, line):
    failing(error)
    status, _, err = ffabric_command("fail")

    assert status == 2
    assert err.startswith(f"ffabric: {line}")


def test_an_interrupt_is_status_130(ffabric_command, failing):
    failing(KeyboardInterrupt())

    assert ffabric_command("fail") == (130, "", "ffabric: interrupted\n")


def test_a_mistake_of_ours_is_not_hidden(ffabric_command, failing):
    failing(ZeroDivisionError("ours"))

    with pytest.raises(ZeroDivisionError):
        ffabric_command("fail")


def test_without_cyclopts_it_says_how_to_get_it(ffabric_command, monkeypatch):
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    monkeypatch.delitem(sys.modules, "ffabric.cli.full", raising=False)
    line = "ffabric: cyclopts is not installed: pip install 'ffabric[cli]'\n"

    assert ffabric_command("run", "--help") == (2, "", line)
    assert ffabric_command("--version")[0] == 0


def test_an_error_without_a_text_is_named():
    assert lines_of(UsageError()) == ["UsageError"]


def test_an_error_of_the_system_is_its_text_and_the_file_if_it_has_one():
    assert lines_of(OSError(28, "No space left on device")) == ["No space left on device"]
    named = OSError(28, "No space left on device", "t.jsonl")
    assert lines_of(named) == ["t.jsonl: No space left on device"]
    assert lines_of(OSError("bank ram has no file")) == ["bank ram has no file"]


def test_output_that_nobody_reads_ends_quietly():
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-m", "ffabric.cli.main", "explain", "0x84000063"],
        stdout=writes,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writes)

    assert (done.returncode, done.stderr) == (141, b"")


def started(*words, **how):
    """A command in a process of its own."""
    command = [sys.executable, "-m", "ffabric.cli.main", *words]
    return subprocess.run(command, check=False, **how)


@pytest.mark.parametrize("words", [["explain", "0x84000063"], ["--help"], ["manifest", "no.toml"]])
@pytest.mark.parametrize("closed", [1, 2])
def test_output_that_is_closed_is_no_error(words, closed):
    open_ = started(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    other = {1: "stderr", 2: "stdout"}[closed]
    done = started(*words, preexec_fn=lambda: os.close(closed), **{other: subprocess.PIPE})
    assert done.returncode == open_.returncode
    assert getattr(done, other) == getattr(open_, other)


def test_what_an_encoding_lacks_is_printed_as_an_escape(tmp_path):
    (tmp_path / "quiet.py").write_text("from ffabric import Partition as Quiet\n")
    (tmp_path / "system.toml").write_text(
        '[[vm]]\nname = "sümmé"\npython = "quiet.py:Quiet"\n', "utf-8"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = started("run", "-v", str(tmp_path / "system.toml"), capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"s\xfcmm\xe9" in done.stdout


@pytest.mark.parametrize(
    "module", ["ffabric.cli.errors", "ffabric.cli.plain", "ffabric.cli.reading.explain"]
)
def test_an_interrupt_while_something_is_imported_is_a_line(module):
    code = f"""
import os, signal, sys
class Interrupts:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from ffabric.cli.main import main
sys.argv = ["ffabric", "explain", "0x84000063"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "ffabric: interrupted\n")


def test_the_front_door_imports_no_command():
    """``ffabric explain`` must stay quick: it pays for no other command, nor for an engine."""
    code = "import sys, ffabric.cli.main; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split()

    commands = {where.partition(":")[0] for where, _ in COMMANDS.values()}
    assert not commands & set(modules)
    assert not {"unicorn", "capstone", "rich", "cyclopts"} & set(modules)
