"""``ffabric acs``, with a small suite of our own in the form of Arm's."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from small_suite import IMAGES, lay_out

from ffabric.cli.main import main
from ffabric.cli.testing.acs import acs
from ffabric.lab.acs.listing import find_listing
from ffabric.lab.running import End, Outcome
from ffabric.machine.host.interruption import Interrupted

LIMITS: dict[str, Any] = {"timeout": 0.001, "max_exits": 500, "processes": 1}
NAMES = [
    *("answers", "refused", "left_out", "skips", "hangs", "crashes", "spins", "last"),
    *("leaves", "maps"),
]


@pytest.fixture
def build(tmp_path):
    return lay_out(tmp_path)


@pytest.fixture
def run(capsys):
    """Runs a build: the exit status, and the tests of the JSON by their names."""

    def call(folder, **options):
        status = acs(folder, json="-", **{**LIMITS, **options})
        return status, {each["name"]: each for each in json.loads(capsys.readouterr().out)["tests"]}

    return call


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command line: exit status and what it says on standard error."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["ffabric", "acs", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, capsys.readouterr().err.splitlines()

    return call


def verdicts(tests):
    return {name: each["verdict"] for name, each in tests.items()}


def test_every_test_gets_its_verdict_also_behind_those_that_never_end(build, run):
    status, tests = run(build)
    assert status == 1
    assert list(tests) == NAMES
    assert verdicts(tests) == {
        "answers": "passed",
        "refused": "failed",
        "left_out": "not supported",
        "skips": "skipped",
        "hangs": "hung",
        "crashes": "crashed",
        "spins": "hung",
        "last": "passed",
        "leaves": "failed",
        "maps": "failed",
    }
    assert tests["answers"]["setups"] == ["VM1 and SP1"]
    assert tests["last"]["suite"] == "calling"


def test_a_boot_for_each_test_finds_the_same(build, run):
    _, together = run(build)
    _, alone = run(build, boot_per_test=True)
    assert verdicts(together) == verdicts(alone) | {"maps": "failed"}
    assert alone["maps"]["verdict"] == "passed"


def test_what_a_test_leaves_behind_is_told(build, run):
    _, tests = run(build, only=["leaving", "answers"])
    assert tests["leaves"]["left"] == ["normal-world has its RX/TX buffers mapped"]
    assert tests["answers"]["left"] == tests["maps"]["left"] == []


def test_a_failure_has_the_suites_words_and_our_rule(build, run):
    _, tests = run(build, only=["refused"])
    assert tests["refused"]["code"] == 2
    said, refusal = tests["refused"]["reasons"]
    assert said == "no answer, fid=0x84000060 (refused_client.c:42)"
    assert refusal.startswith("last refused: normal-world.0 by direct.req.")
    assert ": got 0x8009, expected an SP (INVALID_PARAMETERS; DEN0077A" in refusal


def test_who_never_ends_is_told_with_its_last_call(build, run):
    _, tests = run(build, only=["ending"])
    (hung,) = tests["hangs"]["reasons"]
    assert hung == "hung (no end within 0.001 s of virtual time): last call vm1.0 FFA_ID_GET"
    (spun,) = tests["spins"]["reasons"]
    assert "exits used up" in spun
    assert "last call vm1.0 FFA_VERSION" in spun
    assert tests["crashes"]["reasons"][0].startswith("vm1 crashed: ")
    assert tests["skips"]["reasons"] == ["Nothing here to be tested"]


@pytest.mark.parametrize(
    ("only", "names"),
    [
        (["calling"], ["answers", "refused", "left_out", "last"]),
        (["a*", "skips"], ["answers", "skips"]),
        (["?ast"], ["last"]),
    ],
)
@pytest.mark.parametrize("boot_per_test", [False, True])
def test_some_tests_only(build, run, only, names, boot_per_test):
    _, tests = run(build, only=only, boot_per_test=boot_per_test)
    assert list(tests) == names


def test_all_passed_or_skipped_is_status_0(build, run):
    assert run(build, only=["answers", "skips", "last"])[0] == 0


def test_under_a_hypervisor(tmp_path, run):
    build = lay_out(tmp_path, hypervisor=True)
    status, tests = run(build, only=["calling"])
    assert status == 1
    assert [tests[name]["verdict"] for name in ("answers", "refused", "last")] == [
        "passed",
        "failed",
        "passed",
    ]
    assert "by direct.req." in tests["refused"]["reasons"][-1]


def test_a_folder_of_images_is_booted_image_by_image(build, run, tmp_path):
    """As a suite leaves them that is built for one test at a time."""
    image = (IMAGES / "acs_vm1.bin").read_bytes()
    listing = find_listing(image)
    for number, test in enumerate(reversed(listing.tests)):
        if test.name in ("answers", "hangs", "last"):
            (tmp_path / f"{number}-{test.name}.bin").write_bytes(listing.only(image, [test]))
    status, tests = run(build, tests=tmp_path)
    assert status == 1
    assert verdicts(tests) == {"last": "passed", "hangs": "hung", "answers": "passed"}
    assert list(tests) == ["last", "hangs", "answers"]
    assert run(build, tests=tmp_path, only=["calling"])[0] == 0


def test_the_table_and_the_reasons(build, capsys):
    assert acs(build, **LIMITS) == 1
    out = capsys.readouterr().out
    assert out.startswith("FF-A ACS, VM1 as the kernel at EL2, 4 boots\n")
    rows = [line.split() for line in out.splitlines()[2:7]]
    assert rows == [
        ["suite", "tests", "passed", "failed", "skipped"],
        ["calling", "4", "2", "1", "1"],
        ["ending", "4", "0", "3", "1"],
        ["leaving", "2", "0", "2", "0"],
        ["total", "10", "2", "6", "2"],
    ]
    assert "refused (calling): failed\n  no answer, fid=0x84000060 (refused_client.c:42)\n" in out
    assert "skipped: Nothing here to be tested\n  skips\n" in out


def test_junit(build, tmp_path):
    acs(build, junit=tmp_path / "acs.xml", **LIMITS)
    root = ET.fromstring((tmp_path / "acs.xml").read_bytes())
    assert {suite.get("name"): suite.get("failures") for suite in root} == {
        "calling": "1",
        "ending": "3",
        "leaving": "2",
    }
    failed = root.find(".//testcase[@name='refused']/failure")
    assert failed.get("message") == "no answer, fid=0x84000060 (refused_client.c:42)"
    assert "last refused: " in failed.text  # type: ignore[operator]
    assert root.find(".//testcase[@name='skips']/skipped") is not None
    assert len(root.find(".//testcase[@name='answers']")) == 0  # type: ignore[arg-type]


def test_a_log_has_the_consoles_the_calls_and_the_rules(build, tmp_path):
    acs(build, logs=tmp_path / "logs", only=["refused"], boot_per_test=True, **LIMITS)
    text = (tmp_path / "logs/refused.log").read_text()
    assert "uart2: [0000 0]Suite=calling : Test=refused\n" in text
    assert "FFA_MSG_SEND_DIRECT_REQ_32: sender=0x0000" in text
    assert "! refused by direct.req." in text
    header = json.loads((tmp_path / "logs/refused.jsonl").read_text().splitlines()[0])
    assert header["kind"] == "header"


def test_the_same_seed_leaves_the_same_traces(build, tmp_path):
    for name in ("a", "b"):
        acs(build, logs=tmp_path / name, seed=5, **LIMITS)
    traces = sorted(path.name for path in (tmp_path / "a").glob("*.jsonl"))
    assert traces == ["acs-2.jsonl", "acs-3.jsonl", "acs-4.jsonl", "acs.jsonl"]
    for name in traces:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_several_processes_find_the_same(build, run):
    """This takes a second: two Pythons start."""
    _, one = run(build, boot_per_test=True)
    _, two = run(build, boot_per_test=True, processes=2)
    assert one == two


def test_the_images_on_disk_stay_as_they_are(build, run):
    before = {path: path.read_bytes() for path in Path(build).rglob("*.bin")}
    run(build, boot_per_test=True)
    assert {path: path.read_bytes() for path in Path(build).rglob("*.bin")} == before


def test_a_run_that_is_interrupted_ends(build, command, monkeypatch):
    def interrupt(*_, **__):
        return Outcome(End.INTERRUPTED, "interrupted", interruption=Interrupted())

    monkeypatch.setattr("ffabric.lab.acs.witness.run_to_end", interrupt)
    assert command(build) == (130, ["ffabric: interrupted"])


def test_firmware_that_loops_is_interrupted(build, run, monkeypatch):
    """No virtual time passes and no exit is made: only real time does."""

    def loop(*_, **__):
        while True:
            pass

    monkeypatch.setattr("ffabric.lab.acs.witness.run_to_end", loop)
    status, tests = run(build, only=["answers"], max_seconds=0.01)
    assert status == 1
    assert tests["answers"]["reasons"] == [
        "hung (no end within 0.01 s of real time): nobody made a call"
    ]


# Bad input: every mistake in a line.


def test_no_build_named(command):
    assert command() == (
        2,
        ["ffabric: which build? A folder that CMake has built in is wanted"],
    )


def test_an_empty_folder_lacks_everything(command, tmp_path):
    status, errors = command(tmp_path)
    assert status == 2
    names = [line.split(": ")[2] for line in errors]
    assert names == [
        "vm1.bin",
        *(f"sp{n}.bin" for n in (1, 2, 3, 4)),
        *(f"sp{n}.dts or sp{n}.dtb" for n in (1, 2, 3, 4)),
        "fvp_spmc_manifest.dts or fvp_spmc_manifest.dtb",
    ]
    assert all("not found; looked in" in line for line in errors)


def test_no_folder_at_all(command, tmp_path):
    assert command(tmp_path / "none") == (2, [f"ffabric: {tmp_path / 'none'}: no such folder"])


def test_what_cannot_be_run_is_said_with_what_is_missing(build, command):
    (build / "output/sp3.bin").unlink()
    cache = build / "CMakeCache.txt"
    cache.write_text(cache.read_text().replace("SPMC_EL:UNINITIALIZED=2", "SPMC_EL:STRING=4"))
    status, errors = command(build, "--hypervisor")
    assert status == 2
    assert [line.partition(": ")[2] for line in errors] == [
        f"{build}: sp3.bin: not found; looked in {build}, {build / 'output'}",
        f"{cache}: PLATFORM_SPMC_EL: 4: ffabric runs builds with 2 or 1 or 3",
        f"{cache}: PLATFORM_NS_HYPERVISOR_PRESENT: 0, which --hypervisor contradicts",
    ]


def test_mistakes_in_manifests_are_found(build, command):
    manifest = build.parent / "source/platform/manifest/tgt_tfa_fvp/v12/sp2.dts"
    manifest.write_text(manifest.read_text().replace("messaging-method", "mesaging-method"))
    status, errors = command(build)
    assert status == 2
    assert any("sp2.dts: /: messaging-method: missing" in line for line in errors)


def test_patterns_that_match_nothing(build, command):
    status, errors = command(build, "--only", "lats", "--only", "calling", "--only", "x*")
    assert status == 2
    assert errors == [
        "ffabric: lats: no such test or suite (did you mean 'last'?)",
        "ffabric: x*: no such test or suite",
    ]


def test_tests_cannot_be_chosen_without_their_list(build, command):
    shutil.copy(IMAGES / "engine.bin", build / "output/sp4.bin")
    status, errors = command(build, "--boot-per-test")
    assert status == 2
    assert len(errors) == 1
    assert "none is found in sp4" in errors[0]


def test_images_that_cannot_be_booted(build, command, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    assert command(build, "--tests", images) == (2, [f"ffabric: {images}: no images (*.bin)"])
    (images / "large.bin").write_bytes(bytes(0x20_0001))
    (images / "empty.bin").write_bytes(b"")
    status, errors = command(build, "--tests", images)
    assert status == 2
    assert [line.split(": ")[1] for line in errors] == [
        str(images / "empty.bin"),
        str(images / "large.bin"),
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("--timeout", 0),
        ("--max-exits", -1),
        ("--boot-per-test", "--tests", "."),
        ("--matrix", "--boot-per-test"),
        ("--matrix", "--junit", "x"),
        (".",),
    ],
)
def test_options_that_make_no_sense(build, command, words):
    status, errors = command(build, *words)
    assert status == 2
    assert len(errors) == 1
