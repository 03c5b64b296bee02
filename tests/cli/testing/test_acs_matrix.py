"""``ffabric acs --matrix``: a build in every form, and why the forms differ."""

import json
from typing import Any

import pytest
from small_suite import lay_out

from ffabric.cli.testing.acs import acs
from ffabric.lab.acs.build import find_build
from ffabric.lab.acs.reasons import Reason, known
from ffabric.system.options.problems import SystemErrors

LIMITS: dict[str, Any] = {"timeout": 0.001, "max_exits": 500, "processes": 1}
FORMS = ("one boot", "boot after failure", "boot per test")
FOLLOWS = "a test before it in the same boot failed: booted anew after each failure, it passes"


@pytest.fixture
def build(tmp_path):
    return lay_out(tmp_path)


@pytest.fixture
def run(capsys):
    """Runs a matrix: the exit status, its columns by personality and form, and the reasons."""

    def call(*folders, **options):
        status = acs(*folders, matrix=True, json="-", **{**LIMITS, **options})
        data = json.loads(capsys.readouterr().out)
        columns = {("+".join(each["personality"]), each["form"]): each for each in data["columns"]}
        return status, columns, data["reasons"]

    return call


@pytest.fixture
def reasons(monkeypatch):
    """Lets these rows be known."""

    def know(*rows):
        monkeypatch.setattr("ffabric.lab.acs.reasons.known", lambda: rows)

    return know


def verdicts(column):
    return {each["name"]: each["verdict"] for each in column["tests"]}


def test_a_test_that_fails_only_behind_another_follows_from_it(build, run, reasons):
    reasons(Reason(("leaves",), "suite", "it never unmaps"))
    status, columns, found = run(build, only=["leaving"])
    assert status == 0
    assert [*columns] == [(who, form) for who in ("spec", "hafnium") for form in FORMS]
    assert verdicts(columns["spec", "one boot"]) == {"leaves": "failed", "maps": "failed"}
    for form in FORMS[1:]:
        assert verdicts(columns["spec", form]) == {"leaves": "failed", "maps": "passed"}
    assert [(each["text"], each["by"], each["tests"]) for each in found] == [
        ("it never unmaps", "suite", ["leaves"]),
        (FOLLOWS, "an earlier test", ["maps"]),
    ]
    assert {each["form"] for each in found[1]["columns"]} == {"one boot"}


def test_without_a_reason_the_matrix_has_failed(build, run):
    status, _, found = run(build, only=["leaving"], personality=["spec"])
    assert status == 1
    assert [(each["text"], each["tests"]) for each in found] == [
        (FOLLOWS, ["maps"]),
        ("no reason is known", ["leaves"]),
    ]


def test_a_build_whose_tests_pass_is_not_booted_after_failures(build, run):
    status, columns, found = run(build, only=["answers", "last", "skips"])
    assert status == 0
    assert [form for _, form in columns] == ["one boot", "boot per test"] * 2
    assert found == []
    assert columns["hafnium", "one boot"]["boots"] == 1
    assert columns["hafnium", "boot per test"]["boots"] == 3


def test_after_a_failure_no_test_runs_before_the_next_boot(build, run):
    """What a slice still prints after a test that failed belongs to no test."""
    _, columns, _ = run(build, only=["calling"], personality=["spec"])
    anew = columns["spec", "boot after failure"]
    assert [each["name"] for each in anew["tests"]] == ["answers", "refused", "left_out", "last"]
    assert anew["boots"] == 2


def test_several_processes_find_the_same_matrix(build, run):
    """This takes a second: two Pythons start."""
    assert run(build, only=["leaving"]) == run(build, only=["leaving"], processes=2)


def test_several_builds_in_one_table(tmp_path, capsys, reasons):
    reasons(Reason(("refused",), "suite", "nobody is there"))
    builds = [lay_out(tmp_path / name, hypervisor=name == "hyp") for name in ("nohyp", "hyp")]
    assert acs(*builds, matrix=True, only=["calling"], **LIMITS) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        *("form", "personality", "boots", "tests", "passed", "failed", "skipped", "unverified"),
    ]
    assert lines[1] == "VM1 as the kernel at EL2"
    assert lines[2].split() == ["one", "boot", "spec", "1", "4", "2", "1", "1", "-"]
    assert lines[8] == "VM1 under a hypervisor"
    text = "\n".join(lines)
    assert "failed: nobody is there\n  refused\n  in VM1 as the kernel at EL2: one boot, " in text
    assert (
        "skipped: FFA_FEATURES says that a function it needs is not supported\n  left_out" in text
    )


def test_logs_lie_in_a_folder_for_each_form(build, tmp_path):
    acs(build, matrix=True, only=["maps"], logs=tmp_path / "logs", personality=["spec"], **LIMITS)
    found = sorted(str(each.relative_to(tmp_path)) for each in tmp_path.glob("logs/**/*.log"))
    assert found == [
        "logs/build/spec/boot-per-test/maps.log",
        "logs/build/spec/one-boot/acs.log",
    ]


def test_tests_that_the_suite_calls_unverified_are_counted(build, run, capsys):
    """The suite's own document lists them, under a heading."""
    docs = build.parent / "source/docs"
    docs.mkdir()
    text = (
        "## List of skipped tests\n\n- skips\n\n## List of unverified tests\n\n- maps\n- refused\n"
    )
    (docs / "testcase_unverified.md").write_text(f"{text}- gone\n\n## License\n\n- last\n")
    assert find_build(build).unverified == {"maps", "refused", "gone"}
    acs(build, matrix=True, personality=["spec"], only=["maps", "refused"], **LIMITS)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:5]]
    assert [row[-1] for row in rows] == ["1/2", "1/2", "1/2"]


def test_a_build_for_an_spmc_at_el3_boots_one_sp_below_it(build, run):
    """With the manifest that the suite has for it, and as TF-A's SPMC there."""
    cache = build / "CMakeCache.txt"
    cache.write_text(cache.read_text().replace("SPMC_EL:UNINITIALIZED=2", "SPMC_EL:STRING=3"))
    v12 = build.parent / "source/platform/manifest/tgt_tfa_fvp/v12"
    (v12 / "spmc_el3").mkdir()
    (v12 / "sp1.dts").rename(v12 / "spmc_el3/sp1.dts")
    found = find_build(build)
    assert found.configuration == "VM1 as the kernel at EL2, SPMC at EL3"
    assert (found.sps, found.spmc_level) == (["sp1"], "el3")
    status, columns, _ = run(build, only=["answers", "last"])
    assert status == 0
    assert [who for who, _ in columns] == ["spec", "spec", "tf-a-el3", "tf-a-el3"]


def test_a_build_for_an_spmc_at_s_el1_has_no_sps_there(build):
    cache = build / "CMakeCache.txt"
    cache.write_text(cache.read_text().replace("SPMC_EL:UNINITIALIZED=2", "SPMC_EL:STRING=1"))
    assert find_build(build).spmc_level == "s-el1"
    with pytest.raises(SystemErrors, match="S_EL1: an SPMC at s-el1 has none there"):
        acs(build, matrix=True, **LIMITS)


# What a build is built for, by CMake's cache and the platform's header.

CACHES = {
    (): "VM1 as the kernel at EL2",
    ("PLATFORM_SP_EL:STRING=0",): "VM1 as the kernel at EL2, SPs at S-EL0",
    ("PLATFORM_FFA_V_1_1:X=1",): "VM1 as the kernel at EL2, FF-A 1.1",
    ("PLATFORM_FFA_V_MULTI:X=1", "SP2_FFA_V:X=FFA_V_1_1", "VM1_FFA_V:X=FFA_V_1_1"): (
        "VM1 as the kernel at EL2, FF-A 1.2 with 1.1 in vm1, sp2"
    ),
}


@pytest.mark.parametrize("words", CACHES)
def test_a_build_says_what_it_is_for(build, words):
    cache = build / "CMakeCache.txt"
    cache.write_text("\n".join((cache.read_text(), *words, "")))
    manifests = build.parent / "source/platform/manifest/tgt_tfa_fvp"
    (manifests / "v11").mkdir()
    for n in (1, 2, 3, 4):
        text = (manifests / f"v12/sp{n}.dts").read_text()
        (manifests / f"v12/sp{n}_el0.dts").write_text(text)
        (manifests / f"v11/sp{n}.dts").write_text(text)
    text = (manifests / "fvp_spmc_manifest.dts").read_text()
    (manifests / "fvp_spmc_manifest_el0.dts").write_text(text)
    found = find_build(build)
    assert found.configuration == CACHES[words]
    versions = {path.parent.name for name, path in found.manifests.items() if name == "sp2"}
    assert versions == {"v11" if any("1_1" in each for each in words) else "v12"}


@pytest.mark.parametrize(("value", "told"), [("0", ""), ("1", ", per-vCPU notifications")])
def test_per_vcpu_notifications_are_in_the_platforms_header(build, value, told):
    header = build.parent / "source/platform/pal_baremetal/tgt_tfa_fvp/inc/pal_config_def.h"
    header.parent.mkdir(parents=True)
    header.write_text(f"/* none */\n#define PLATFORM_PER_VCPU_NOTIFICATION_SUPPORT {value}\n")
    assert find_build(build).configuration == f"VM1 as the kernel at EL2{told}"


# The reasons that are known.


def test_a_reason_holds_where_all_that_it_names_holds(build):
    plain = find_build(build)
    row = Reason(("a*",), "suite", "", hypervisor=False, form=("one boot",), personality="spec")
    assert row.holds("abc", plain, "one boot", ("spec",))
    assert not row.holds("bcd", plain, "one boot", ("spec",))
    assert not row.holds("abc", plain, "boot per test", ("spec",))
    assert not row.holds("abc", plain, "one boot", ("hafnium",))
    assert not Reason(("a*",), "suite", "", hypervisor=True).holds("abc", plain, "", ())
    assert not Reason(("a*",), "suite", "", sp_el="0").holds("abc", plain, "", ())
    assert not Reason(("a*",), "suite", "", spmc_el="3").holds("abc", plain, "", ())
    assert Reason(("a*",), "suite", "", spmc_el="2", sp_el="1").holds("abc", plain, "", ())
    assert not Reason(("a*",), "suite", "", per_vcpu=True).holds("abc", plain, "", ())


def test_every_known_reason_says_whose_it_is():
    assert known()
    assert all(each.tests and each.text for each in known())
    assert {each.by for each in known()} == {"suite", "specification", "platform"}
    assert {form for each in known() for form in each.form} <= set(FORMS)
