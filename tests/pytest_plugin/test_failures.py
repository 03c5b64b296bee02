"""What a failing test says besides: the seed, and what its systems did last."""

import html
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET

import pytest

from ffabric.testing import parametrize

PARTS = """
    import pytest
    from ffabric import Partition

    class Adder(Partition):
        async def on_direct_request(self, request, ffa):
            a, b, *_ = request.payload
            return request.respond(a + b)
"""


@pytest.fixture
def tried(tmp_path):
    """Run tests in a process of their own: how many failed, and the lines that it prints."""

    def run(source, *options):
        path = tmp_path / "test_it.py"
        path.write_text(textwrap.dedent(PARTS + source), "utf-8")
        without = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "xdist")]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *without, *options, path.name],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.splitlines()

    return run


@pytest.fixture
def failed(tried):
    """Run a test that fails: the lines that are printed."""

    def run(source, *options):
        status, lines = tried(source, *options)
        assert status == 1
        return lines

    return run


def test_an_unexpected_refusal_shows_its_rule_and_the_last_calls(failed):
    lines = failed(
        """
    def test_sharing(ffabric):
        client = ffabric.boot(sps=[Adder()], vms=["client"]).vm("client").ffa
        client.direct_request(Adder, 1, 2)
        client.share(Adder, ipa=0x40001001)
"""
    )
    told = next(line for line in lines if line.startswith("E  "))
    assert "INVALID_PARAMETERS, refused by mem.share.unaligned_base: got 0x40001001" in told
    assert any("FFA_MSG_SEND_DIRECT_REQ_64: sender=0x0001 (client)" in line for line in lines)
    assert any("! refused by mem.share.unaligned_base" in line for line in lines)
    at = next(at for at, line in enumerate(lines) if "- ffabric: refused -" in line)
    assert lines[at + 1 : at + 4] == [
        "client.0 called FFA_MEM_SHARE_64: INVALID_PARAMETERS, refused by mem.share.unaligned_base",
        "    Each address range starts on a page (4 KiB).",
        "    got 0x40001001, expected a multiple of 0x1000 (DEN0140 1.2, table 1.13)",
    ]
    assert "pytest test_it.py::test_sharing --ffabric-seed 0" in lines


def test_a_refusal_shows_the_test_and_nothing_beneath_it(failed):
    lines = failed(
        """
    def test_sharing(ffabric):
        client = ffabric.boot(sps=[Adder()], vms=["client"]).vm("client").ffa
        client.share(Adder, ipa=0x40001001)
"""
    )
    assert not any("_send" in line or "def make" in line for line in lines)
    assert any(line.startswith(">       client.share(Adder") for line in lines)


def test_a_crash_in_a_boot_shows_the_partitions_line(failed):
    lines = failed(
        """
    class Boom(Partition):
        async def on_boot(self, ffa):
            await ffa.id_get()
            raise KeyError("x")

    def test_boom(ffabric):
        ffabric.boot(sps=[Boom()])
"""
    )
    text = "\n".join(lines)
    assert ">       raise KeyError" in text
    assert "PartitionCrashed: boom: KeyError: 'x' (test_it.py:" in text
    assert "FFA_ID_GET" in text


def test_a_failure_without_a_system_shows_none(failed):
    lines = failed(
        """
    def test_nothing(ffabric):
        assert ffabric is None
"""
    )
    assert not any("last calls" in line for line in lines)


def test_a_passing_test_shows_nothing(tried):
    status, lines = tried(
        """
    def test_sum(ffabric):
        client = ffabric.boot(sps=[Adder()], vms=["client"]).vm("client").ffa
        assert client.direct_request(Adder, 1, 2).payload[0] == 3
"""
    )
    assert status == 0
    assert not any("last calls" in line for line in lines)


def test_the_fixture_says_what_it_does_not_know(ffabric):
    with pytest.raises(
        TypeError, match=r"boot\(\) has no parameter 'pess' \(did you mean 'pes'\?\)"
    ):
        ffabric.boot(sps=["sp"], pess=2)
    with pytest.raises(
        TypeError, match=r"boot\(\) has no parameter 'sed' \(did you mean 'seed'\?\)"
    ):
        ffabric.boot(sps=["sp"], sed=2)


def test_twenty_calls_are_shown_and_no_more(failed):
    lines = failed(
        """
    def test_sums(ffabric):
        client = ffabric.boot(sps=[Adder()], vms=["client"]).vm("client").ffa
        for n in range(100):
            assert client.direct_request(Adder, 1, n).payload[0] != 100
"""
    )
    calls = [line for line in lines if line.startswith("PE0")]
    assert len(calls) == 20
    assert "FFA_MSG_SEND_DIRECT_RESP_64: sender=0x8001 (adder)" in calls[-1]
    assert calls[-1].endswith("x3=0x64")


def test_what_a_test_does_not_expect_is_shown_whoever_boots(failed):
    lines = failed(
        """
    from ffabric import boot

    def test_sharing():
        with boot(sps=[Adder()], vms=["client"]) as system:
            system.vm("client").ffa.share(Adder, ipa=0x40001001)
"""
    )
    assert any("refused by mem.share.unaligned_base" in line for line in lines[-25:])
    assert "pytest test_it.py::test_sharing --ffabric-seed 0" in lines


def test_of_a_system_that_tests_share_is_shown_what_it_did_for_the_one_that_fails(failed):
    lines = failed(
        """
    from ffabric import refuses

    @pytest.fixture(scope="module")
    def client(module_ffabric):
        return module_ffabric.boot(sps=[Adder()], vms=["client"]).vm("client").ffa

    def test_first(client):
        with refuses("mem.share.unaligned_base"):
            client.share(Adder, ipa=1)

    def test_second(client):
        assert client.direct_request(Adder, 1, 2).payload[0] == 4
"""
    )
    assert not any("unaligned_base" in line for line in lines)
    assert len([line for line in lines if line.startswith("PE0")]) == 2


def test_a_partition_that_has_crashed_is_told_with_its_line_though_the_system_goes_on(failed):
    lines = failed(
        """
    class Boom(Partition):
        async def on_direct_request(self, request, ffa):
            raise KeyError("x")

    def test_boom(ffabric):
        system = ffabric.boot(sps=[Boom()], vms=["client"], stop_on_crash=False)
        system.vm("client").ffa.direct_request(Boom)
"""
    )
    at = next(at for at, line in enumerate(lines) if "- ffabric: crashed -" in line)
    assert lines[at + 1].startswith("boom: KeyError: 'x' (test_it.py:")
    assert 'raise KeyError("x")' in lines[at + 3]
    assert any("* crash" in line for line in lines)


def test_a_test_is_run_with_many_seeds_and_the_one_that_fails_is_told(failed):
    source = """
    def test_seed(ffabric):
        system = ffabric.boot(sps=["sp"], vms=["red", "green", "blue"], pes=3)
        assert ffabric.seed % 2
"""
    lines = failed(source, "--ffabric-seeds", "4")
    again = [line.split() for line in lines if line.startswith("pytest test_it.py::test_seed ")]
    assert len(again) == 2
    for *_, seed in again:
        (told,) = [
            line
            for line in failed(source, "--ffabric-seed", seed)
            if line.startswith("pytest test_it.py")
        ]
        assert told.split()[-1] == seed


def test_a_test_is_parametrized_over_versions_strictness_and_seeds(tried):
    status, lines = tried(
        """
    from ffabric.testing import parametrize

    @parametrize(versions=("1.1", "1.2"), strict=(False, True), seeds=3)
    def test_it(ffabric):
        system = ffabric.boot(sps=["sp"], vms=["client"])
        minor = int(ffabric.version[-1])
        assert system.vm("client").ffa.negotiate(0x1_0002) == 0x1_0000 | minor
        assert system.system.spec.strict is ffabric.strict
""",
        "-v",
    )
    assert status == 0, lines
    passed = [line.split()[0] for line in lines if " PASSED" in line]
    assert len(passed) == 12
    assert passed[0] == "test_it.py::test_it[v1.1-lenient-seed0]"


def test_what_is_parametrized_uses_the_fixture(tried):
    status, lines = tried(
        """
    from ffabric.testing import parametrize

    @parametrize(seeds=3)
    def test_it():
        pass
"""
    )
    assert status != 0
    assert any("is for tests that use the ffabric fixture" in line for line in lines)


def test_a_single_version_is_no_list():
    with pytest.raises(TypeError, match=r"versions: expected a list, got '1\.1'"):
        parametrize(versions="1.1")


TWO = """
    @pytest.mark.parametrize("pages", [1, 2])
    def test_sharing(ffabric, pages):
        client = ffabric.boot(sps=[Adder()], vms=["client"]).vm("client").ffa
        client.share(Adder, ipa=client.ram.allocate() + pages - 1)
"""


def test_traces_of_failing_tests_are_kept(failed, tmp_path):
    lines = failed(TWO, "--ffabric-traces", "traces")
    page, path = sorted((tmp_path / "traces").iterdir())
    assert path.name == "test_it.py-test_sharing-2.jsonl"
    assert page.name == "test_it.py-test_sharing-2.html"
    assert {f"traces/{path.name}", f"traces/{page.name}"} <= set(lines)
    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert "unaligned_base" in path.read_text("utf-8")


def test_junit_has_the_seed_the_rule_and_the_command(failed, tmp_path):
    failed(TWO, "--junitxml", "report.xml", "--ffabric-traces", "traces")
    passed, refused = ET.parse(tmp_path / "report.xml").iter("testcase")
    told = {each.get("name"): each.get("value") for each in refused.iter("property")}
    assert told == {
        "ffabric_seed": "0",
        "ffabric_refused": "mem.share.unaligned_base",
        "ffabric_again": "pytest 'test_it.py::test_sharing[2]' --ffabric-seed 0",
        "ffabric_traces": "traces/test_it.py-test_sharing-2.jsonl",
        "ffabric_pages": "traces/test_it.py-test_sharing-2.html",
    }
    assert [each.get("name") for each in passed.iter("property")] == ["ffabric_seed"]


def test_a_report_of_pytest_html_has_links_to_traces_and_pages(failed, tmp_path):
    lines = failed(TWO, "--html", "report.html", "--ffabric-traces", "traces")
    assert "ModuleNotFoundError" not in "".join(lines)
    report = html.unescape((tmp_path / "report.html").read_text("utf-8"))
    for suffix in ("jsonl", "html"):
        path = tmp_path / "traces" / f"test_it.py-test_sharing-2.{suffix}"
        assert path.as_uri() in report
        assert "test_sharing-1" not in report


def test_a_bug_of_ours_is_shown_with_our_frames(failed):
    lines = failed(
        """
    def test_bug(ffabric):
        client = ffabric.boot(vms=["client"]).vm("client").ffa
        del client._take
        client.id_get()
"""
    )
    assert any("self.ready()" in line for line in lines)
