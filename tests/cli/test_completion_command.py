"""``ffabric completion``: what a shell is given completes commands and options."""

import subprocess

import pytest

from ffabric.cli.main import COMMANDS


@pytest.fixture
def complete(ffabric_command):
    """What bash offers for the last word of a line."""
    status, script, _ = ffabric_command("completion", "bash")
    assert status == 0

    def offered(*words):
        line = " ".join(f"'{word}'" for word in words)
        program = f"{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _ffabric\n"
        program += 'printf "%s\\n" "${COMPREPLY[@]}"\n'
        ended = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
        return ended.stdout.split()

    return offered


def test_every_command_is_offered(complete):
    assert sorted(complete("ffabric", "")) == sorted(COMMANDS)


def test_options_of_a_command_are_offered(complete):
    assert complete("ffabric", "run", "--time") == ["--timeout"]
    assert complete("ffabric", "report", "-o") == ["-o"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_theirs(ffabric_command, shell):
    status, script, _ = ffabric_command("completion", shell)
    assert status == 0
    assert "timeout" in script


def test_a_shell_that_is_not_known_is_told(ffabric_command):
    status, _, errors = ffabric_command("completion", "tcsh")
    assert status == 2
    assert "tcsh" in errors
