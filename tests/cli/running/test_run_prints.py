"""``ffabric run``: what partitions in Python print counts as what their consoles print."""

import json

import pytest

from ffabric.cli.running.run import run

PARTS = """
import sys

from ffabric import Partition


class Prints(Partition):
    async def main(self, ffa):
        print("one", end="")
        await ffa.yield_()
        print(" line\\nand")
        print("another", file=sys.stderr)
        await ffa.console_log("a console\\n")
        print("unfinished", end="")


class Unfinished(Partition):
    async def main(self, ffa):
        await ffa.console_log("this fails")


class SwitchesOff(Unfinished):
    async def main(self, ffa):
        await super().main(ffa)
        await ffa.call(0x84000008)  # PSCI's SYSTEM_OFF


class PrintsAndIsOff(Partition):
    async def main(self, ffa):
        print("this fails")
        await ffa.call(0x84000008)


class Server(Partition):
    async def on_direct_request(self, request, ffa):
        print("the server fails")
        return request.respond(1)


class Client(Partition):
    async def main(self, ffa):
        await ffa.direct_request("server", 1)
        print("the client goes on")


class Loops(Partition):
    async def main(self, ffa):
        for round in range(1000):
            print("round", round)
            await ffa.yield_()
"""


@pytest.fixture
def runs(tmp_path, capsys):
    """Runs a VM of a class with keys of [run]: its exit status, its output, its error output."""
    (tmp_path / "parts.py").write_text(PARTS)

    def runs(kind, keys, *, hypervisor="true", **options):
        (tmp_path / "system.toml").write_text(
            f'hypervisor = {hypervisor}\n[[sp]]\nname = "server"\npython = "parts.py:Server"\n'
            f'[[vm]]\nname = "vm"\npython = "parts.py:{kind}"\n[run]\n{keys}\n'
        )
        return run(tmp_path / "system.toml", **options), *capsys.readouterr()

    return runs


@pytest.mark.parametrize(
    ("kind", "keys", "status", "end"),
    [
        ("Prints", 'expect = ["one line", "and"]', 0, "all that was expected has been printed"),
        ("Prints", 'expect = ["line", "a console"]', 0, "all that was expected has been printed"),
        ("Prints", 'expect = "unfinished"', 0, "all that was expected has been printed"),
        ("Prints", 'expect = "lineand"', 1, "nothing can run any more; never printed: 'lineand'"),
        ("Prints", 'expect = "another"', 1, "nothing can run any more; never printed: 'another'"),
        ("Prints", 'fail_on = "one line"', 1, "vm has printed 'one line', which fails the run"),
        ("Prints", 'fail_on = "another"', 0, "nothing can run any more"),
        ("Prints", 'fail_on = "unfinished"', 1, "vm has printed 'unfinished', which"),
        ("Unfinished", 'fail_on = "fail"', 1, "vm has printed 'fail', which fails the run"),
        ("Unfinished", 'expect = "fails"', 0, "all that was expected has been printed"),
        ("Unfinished", 'fail_on = "fine"', 0, "nothing can run any more"),
        ("Client", 'fail_on = "fail"', 1, "server has printed 'fail', which fails the run"),
        ("Client", 'expect = ["fails", "goes on"]', 0, "all that was expected has been printed"),
        ("Loops", 'stop_on = "round 3"', 0, "vm has printed 'round 3'"),
    ],
)
def test_what_is_printed_counts(runs, kind, keys, status, end):
    got, out, _ = runs(kind, keys)
    assert f"the run ended: {end}" in out
    assert got == status


@pytest.mark.parametrize(
    ("kind", "keys", "status", "end"),
    [
        ("Unfinished", 'fail_on = "fail"', 1, "normal-world has printed 'fail', which fails the"),
        ("Unfinished", 'fail_on = "fine"', 0, "nothing can run any more"),
        ("SwitchesOff", 'fail_on = "fail"', 1, "normal-world has printed 'fail', which fails the"),
        ("SwitchesOff", 'fail_on = "fine"', 0, "the system is powered off"),
        ("PrintsAndIsOff", 'fail_on = "fail"', 1, "vm has printed 'fail', which fails the run"),
        ("PrintsAndIsOff", 'expect = "fail"', 0, "the system is powered off"),
    ],
)
def test_the_last_words_of_a_kernel_count(runs, kind, keys, status, end):
    got, out, _ = runs(kind, keys, hypervisor="false")
    assert f"the run ended: {end}" in out
    assert "this fails\n" in out
    assert got == status


def test_a_run_ends_soon_after_the_line_that_ends_it(runs):
    _, out, _ = runs("Loops", 'stop_on = "round 3"')
    assert "round 3\n" in out
    assert "round 9\n" not in out


def test_what_is_printed_comes_as_it_is_and_in_its_place(runs):
    _, out, _ = runs("Prints", 'expect = "never"')
    assert out.startswith("one line\nand\nvm: a console\nunfinished")


@pytest.mark.parametrize("keys", ["", 'expect = "one line"'])
def test_lines_for_programs_stay_apart_from_what_is_printed(runs, keys):
    status, out, errors = runs("Prints", keys, json=True, verbose=True)
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert lines[-1]["kind"] == "summary"
    assert "one line\nand" in errors


def test_the_standard_output_is_itself_again_after_a_run(runs):
    import sys

    before = sys.stdout
    runs("Prints", 'expect = "one"')
    assert sys.stdout is before
