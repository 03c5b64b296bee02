"""``pytest --ffabric-faults``: which bugs would a suite have caught?"""

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.timeout(1200)  # each runs pytest several times

SUITE = """
    import pytest

    def test_that_a_page_is_shared_once(ffabric):
        client = ffabric.boot(sps=["keeper"], vms=["client"]).vm("client")
        ipa = client.ram.allocate(1)
        client.ffa.share("keeper", ipa=ipa)
        with ffabric.refuses("mem.share.not_owned"):
            client.ffa.share("keeper", ipa=ipa)
"""


@pytest.fixture
def run(tmp_path):
    """Run a suite: the exit status, and the lines that are printed."""

    def run(*options, source=SUITE):
        (tmp_path / "test_it.py").write_text(textwrap.dedent(source), "utf-8")
        without = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "xdist")]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *without, *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).splitlines()

    return run


def test_it_tells_what_is_caught_by_which_test_what_is_missed_and_what_nobody_executes(run):
    options = [
        word
        for name in ("optee_os_5803", "haf_8f11cde4", "haf_67686054")
        for word in ("--ffabric-fault", name)
    ]
    status, lines = run("--ffabric-faults", *options)
    assert status == 0
    told = {line.split()[0]: line for line in lines if " I " in line or " D " in line}
    assert "optee_os_5803" in told["caught"]
    assert "(test_it.py::test_that_a_page_is_shared_once)" in told["caught"]
    assert "haf_8f11cde4" in told["missed"]
    assert any(line.startswith("not reached H haf_67686054") for line in lines)
    assert "1 of 3 caught, 1 missed, 1 not reached by any test" in lines


def test_a_suite_can_be_run_with_one_bug(run):
    status, lines = run("--ffabric-fault", "optee_os_5803")
    assert status == 1
    assert any("NotRefused: mem.share.not_owned refused nothing" in line for line in lines)


def test_nothing_is_tried_with_tests_that_fail(run):
    status, lines = run("--ffabric-faults", source="def test_it(): assert False")
    assert status == 1
    assert "not tried: the tests have to pass first" in lines


def test_an_unknown_name_is_told_in_a_line(run):
    status, lines = run("--ffabric-fault", "haf_1")
    assert status == 4
    assert any("--ffabric-fault: there is no fault 'haf_1'" in line for line in lines)


def test_invariants_judge_what_tests_do_not_look_at(run):
    notify = """
    def test_notifying(ffabric):
        system = ffabric.boot(sps=[], vms=["a", "b"])
        a, b = system.vm("a").ffa, system.vm("b").ffa
        a.id_get(), b.id_get()
        a.notification_bind("b", 1)
        b.notification_set("a", 1)
        b.notification_set("a", 1)
        a.notification_get()
    """
    with_bug = "--ffabric-fault", "haf_fc50ef7d"
    assert run(*with_bug, source=notify)[0] == 0
    assert run("--ffabric-invariants", "all", source=notify)[0] == 0
    status, lines = run(*with_bug, "--ffabric-invariants", "all", source=notify)
    assert status == 1
    assert any("Discrepancy: a.0 does not get the notifications 0x1" in line for line in lines)


def test_an_unknown_invariant_is_told_in_a_line(run):
    status, lines = run("--ffabric-invariants", "rings")
    assert status == 4
    assert any("--ffabric-invariants: there is no invariant 'rings'" in line for line in lines)
