"""A partition that crashes is named, with what its code raised and where."""

import sys
import traceback
from pathlib import Path

import pytest

from ffabric.guests.partition import Partition
from ffabric.machine import exits
from ffabric.system.crash import PartitionCrashed

HERE = Path(__file__).name


class Unspeakable(BaseException):
    def __str__(self):
        raise ValueError("no words")


class Boom(Partition):
    def __init__(self, what):
        super().__init__()
        self.what = what

    async def on_boot(self, ffa):
        await self.explode()

    async def explode(self):
        raise self.what


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (BaseException("all of it"), "BaseException: all of it"),
        (Unspeakable(), "Unspeakable, whose text raises ValueError"),
    ],
)
def test_whatever_a_partition_raises_is_its_crash(ffabric, what, reason):
    with pytest.raises(PartitionCrashed) as caught:
        ffabric.boot(sps=[Boom(what)])
    crash = caught.value
    assert (crash.name, crash.reason) == ("boom", reason)
    assert crash.__cause__ is what
    assert crash.where.startswith(f"tests/session/{HERE}:")
    assert crash.where.endswith(", in explode")
    assert str(crash) == f"boom: {reason} ({crash.where})"


def test_the_traceback_begins_in_the_partitions_own_code(ffabric):
    with pytest.raises(PartitionCrashed) as caught:
        ffabric.boot(sps=[Boom(KeyError("x"))])
    frames = traceback.extract_tb(caught.value.__cause__.__traceback__)
    assert [frame.name for frame in frames] == ["on_boot", "explode"]
    assert [line.strip() for line in caught.value.traceback[1::2]] == [
        "await self.explode()",
        "raise self.what",
    ]


class Refused(Partition):
    async def on_boot(self, ffa):
        await ffa.share("refused", ipa=0x1001)


def test_a_refusal_that_a_partition_does_not_expect_is_told_whole(ffabric):
    with pytest.raises(PartitionCrashed) as caught:
        ffabric.boot(sps=[Refused()])
    assert caught.value.reason.startswith(
        "FfaError: FFA_MEM_SHARE_64: INVALID_PARAMETERS, refused by mem."
    )
    assert caught.value.where.endswith(", in on_boot")


class Exit:
    def __await__(self):
        yield exits.SMC


class Scribbling(Partition):
    async def on_boot(self, ffa):
        ffa.x[0] = "text"
        await Exit()


def test_a_crash_that_is_no_exception_has_no_traceback(ffabric):
    with pytest.raises(PartitionCrashed) as caught:
        ffabric.boot(sps=[Scribbling()])
    assert caught.value.where == ""
    assert caught.value.traceback == []


class Leaving(Partition):
    async def on_direct_request(self, request, ffa):
        sys.exit(3)


def test_others_go_on_when_a_partition_wants_to_leave(ffabric):
    system = ffabric.boot(sps=[Leaving(), "other"], vms=["client"], stop_on_crash=False)
    client = system.vm("client")
    with pytest.raises(Exception, match="ABORTED"):
        client.ffa.direct_request(Leaving)
    assert [crash.reason for crash in system.crashes] == ["SystemExit: 3"]
    client.ffa.share("other", ipa=client.ram.allocate())
