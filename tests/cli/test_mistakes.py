"""A mistake on the command line is told in one line, which says what was meant; status 2."""

import inspect

import pytest

from ffabric.cli.full import load
from ffabric.cli.main import COMMANDS

TOLD = {
    "run a.toml b.toml": "run: 'b.toml' is too much: besides options it takes SYSTEM",
    "run a.toml b c d e": "run: 'b', 'c', 'd' ... are too much: besides options it takes SYSTEM",
    "run a.toml timeout 3": "run: 'timeout', '3' are too much: besides options it takes SYSTEM "
    "(did you mean '--timeout'?)",
    "run a.toml --json 5": "run: --json takes no value: '5' is too much",
    "run a.toml -v 5": "run: -v takes no value: '5' is too much",
    "run a.toml --seed 1 2": "run: '2' is too much: besides options it takes SYSTEM",
    "demo twice": "demo: 'twice' is too much: besides options it takes no argument",
    "run": "run: SYSTEM is missing",
    "run --seed": "run: --seed takes a value, and none is given",
    "run a.toml --seed": "run: --seed takes a value, and none is given",
    "run a.toml --seed many": "run: --seed: 'many' is not a whole number",
    "run a.toml --seed 1.5": "run: --seed: '1.5' is not a whole number",
    "run a.toml --timeout soon": "run: --timeout: 'soon' is not a number",
    "run a.toml --json=perhaps": "run: --json: 'perhaps' is not true or false",
    "run a.toml --sead 1": "run: --sead is none of its options (did you mean '--seed'?)",
    "run a.toml --nothing-like-it": "run: --nothing-like-it is none of its options",
    "run a.toml --seed 1 --seed 2": "run: --seed is given twice",
    "virtio conforn": "virtio: WHAT: 'conforn' is none of conform, demo, xen, android "
    "(did you mean 'conform'?)",
    "explor": "'explor' is not a command (did you mean 'explore'?); "
    "ffabric --help lists all commands",
    "--nope": "'--nope' is not an option; ffabric --help lists all commands",
}


@pytest.mark.parametrize(("line", "told"), TOLD.items(), ids=TOLD.keys())
def test_a_mistake_is_one_line_that_says_what_was_meant(ffabric_command, line, told):
    assert ffabric_command(*line.split()) == (2, "", f"ffabric: {told}\n")


@pytest.mark.parametrize("line", ["run a.toml --seed 0x10", "run a.toml --seed 16"])
def test_what_is_none_goes_on_to_the_command(ffabric_command, line):
    status, _, err = ffabric_command(*line.split())

    assert (status, err) == (2, "ffabric: a.toml: No such file or directory\n")


def takes_any_number(name):
    parameters = inspect.signature(load(COMMANDS[name][0])).parameters.values()
    return any(each.kind is each.VAR_POSITIONAL for each in parameters)


@pytest.mark.parametrize("name", [name for name in COMMANDS if not takes_any_number(name)])
def test_no_command_takes_more_than_it_says(ffabric_command, name):
    status, out, err = ffabric_command(name, *["unheard-of"] * 6)

    assert (status, out) == (2, "")
    assert err.startswith(f"ffabric: {name}: ")
    assert err.count("\n") == 1
    assert "unheard-of" in err
