"""What the plain parser understands means the same to the full one; the rest it leaves to it."""

import subprocess
import sys

import pytest

from ffabric import __version__
from ffabric.cli.full import application, load
from ffabric.cli.main import ABOUT, COMMANDS
from ffabric.cli.plain import bind
from ffabric.guests import images

PLAIN = [
    ["explain", "0x84000060"],
    ["explain", "0x84000060", "0x0", "0xfffffffe"],
    ["explain"],
    ["explain", "--ffa", "1.1", "0x84000060"],
    ["explain", "0x84000060", "--ffa=1.0"],
    ["run", "system.toml"],
    ["run", "system.toml", "--trace", "out.jsonl", "--seed", "7"],
    ["run", "-v", "--json", "system.toml", "--timeout", "2.5", "--max-events=100"],
    ["trace", "out.jsonl"],
    ["calls", "calls.jsonl"],
    ["manifest", "a.dts", "b.dts"],
    ["bench", "--runs", "3", "--seconds", "1"],
    ["bench", "--explain", "--json", "out.json"],
    ["fuzz", "--seed", "3"],
    ["demo"],
]
UNCLEAR = [
    ["run"],
    ["run", "--help"],
    ["run", "-h"],
    ["run", "system.toml", "other.toml"],
    ["run", "system.toml", "--seed"],
    ["run", "system.toml", "--seed", "many"],
    ["run", "system.toml", "--seed", "-1"],
    ["run", "system.toml", "--seed", "1", "--seed", "2"],
    ["run", "system.toml", "--timeout", "soon"],
    ["run", "system.toml", "--timeout", "1e3"],
    ["run", "system.toml", "--nope"],
    ["run", "system.toml", "--no-json"],
    ["run", "system.toml", "--json=true"],
    ["run", "--system", "system.toml"],
    ["run", ""],
    ["explain", "-1"],
    ["explain", "--", "0x1"],
    ["bench", "--only", "direct"],
    ["bench", "--json", "-"],
    ["calls", "-"],
]


def in_full(words):
    """The arguments that the full parser finds."""
    app = application(COMMANDS, words[0], version=__version__, text=ABOUT)
    _, bound, *_ = app.parse_args(words, print_error=False, exit_on_error=False)
    return list(bound.args), dict(bound.kwargs)


@pytest.mark.parametrize("words", PLAIN, ids=" ".join)
def test_a_plain_form_means_what_it_means_to_the_full_parser(words):
    found = bind(load(COMMANDS[words[0]][0]), words[1:])

    assert found is not None
    assert (found.args, found.kwargs) == in_full(words)


@pytest.mark.parametrize("words", UNCLEAR, ids=" ".join)
def test_any_other_form_is_left_to_the_full_parser(words):
    assert bind(load(COMMANDS[words[0]][0]), words[1:]) is None


def modules_of(code):
    """What a Python process has loaded after it has executed ``code``."""
    said = f"{code}\nimport sys; print('loaded', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("loaded ")[2].split())


def ours(modules):
    """Those of ours: the standard library's are as many as its version needs."""
    return {name for name in modules if name.partition(".")[0] == "ffabric"}


def command(*words):
    return (
        f"import sys; sys.argv = {['ffabric', *words]!r}\n"
        "from ffabric.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as error: assert not error.code"
    )


NOTHING = modules_of("pass")
HEAVY = {"cyclopts", "rich", "unicorn", "capstone", "attrs", "pytest", "asyncio", "multiprocessing"}


def test_help_loads_next_to_nothing():
    loaded = modules_of(command("--help")) - NOTHING

    assert not loaded & HEAVY
    assert len(ours(loaded)) <= 6


def test_explain_loads_no_parser_and_no_firmware():
    loaded = modules_of(command("explain", "0x84000060")) - NOTHING

    assert not loaded & HEAVY
    assert not {name for name in loaded if name.startswith("ffabric.firmware.manager")}
    assert len(ours(loaded)) <= 49


def test_explain_has_no_need_of_what_reads_signatures():
    """Unless another package is installed that has: msgspec loads it where it is."""
    alone = "import sys; sys.modules['typing_extensions'] = None\n"

    assert "inspect" not in modules_of(alone + command("explain", "0x84000060"))


SYSTEM = """
[[sp]]
name = "echo"
python = "ffabric.lab.bench.software:Echo"
"""


@pytest.mark.parametrize(
    "system",
    [SYSTEM, '[[sp]]\nname = "adder"\nimage = "adder_smc.bin"\n'],
    ids=["a Python partition", "an image"],
)
def test_a_run_loads_no_parser_and_nothing_that_starts_processes(tmp_path, system):
    (tmp_path / "adder_smc.bin").write_bytes(images.load("adder_smc"))
    (tmp_path / "system.toml").write_text(system)
    loaded = modules_of(command("run", str(tmp_path / "system.toml"))) - NOTHING

    assert loaded & (HEAVY | {"subprocess", "tempfile", "json", "devicetree", "hashlib"}) == set()
    assert len(ours(loaded)) <= 273
    assert len(loaded) <= 383  # later Pythons have a few more of their own


def test_the_library_of_unicorn_is_loaded_without_its_binding():
    loaded = modules_of("import ffabric.machine.engines.unicorn.native") - NOTHING

    assert not {name for name in loaded if name.partition(".")[0] == "unicorn"}


BOOTS = """
def test_one(ffabric):
    ffabric.boot(sps=["sp"], vms=["vm"])
"""
CALLS = """
import pytest, ffabric

class Adder(ffabric.Partition):
    async def on_direct_request(self, request, ffa):
        return request.respond(sum(request.payload))

def test_one(ffabric):
    client = ffabric.boot(sps=[Adder()], vms=["client"]).vm("client").ffa
    assert client.direct_request(Adder, 2, 3).payload[0] == 5
    with ffabric.refuses("mem.share.unaligned_base"):
        client.share(ipa=0x1001, pages=1, to=Adder)
"""
LOADED = """
def test_loaded():
    import sys; print('loaded', *sys.modules)

def test_plain():
    import ffabric.machine.machine as machine, pytest
    assert 'pytest' not in machine.__spec__.loader.__class__.__module__
"""


@pytest.mark.parametrize(("test", "most"), [(BOOTS, 227), (CALLS, 242)], ids=["boots", "calls"])
def test_a_test_loads_no_parser_and_no_emulator(tmp_path, test, most):
    (tmp_path / "test_one.py").write_text(test + LOADED)
    without = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "xdist", "cov")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-qs", *without, "test_one.py"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(("loaded", ".loaded")))
    loaded = set(line.split()) - NOTHING

    assert not loaded & (HEAVY - {"pytest", "rich", "attrs"})
    assert len(ours(loaded)) <= most
