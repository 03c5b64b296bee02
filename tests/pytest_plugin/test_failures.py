"""What a failing test says besides: the seed, and what its systems did last."""

import subprocess
import sys
import textwrap

import pytest

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

    def run(source):
        path = tmp_path / "test_it.py"
        path.write_text(textwrap.dedent(PARTS + source), "utf-8")
        without = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "xdist")]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *without, path.name],
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

    def run(source):
        status, lines = tried(source)
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
    assert any(line.startswith("--ffabric-seed ") for line in lines)


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
