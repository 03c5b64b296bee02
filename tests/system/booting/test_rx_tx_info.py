"""The RX/TX pair of a manifest (rx_tx-info) is there from the start, as if FFA_RXTX_MAP had run."""

from collections.abc import Callable
from typing import Any

import pytest

from ffabric import System, boot, sp, vm
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.guests.errors import FfaError
from ffabric.session.ffa import BlockingFfa
from ffabric.system.manifest.manifest import MemoryRegion
from ffabric.system.options.problems import ConfigErrors

READ, WRITE = 1, 3
OFFSETS = {"rx": 0x10_0000, "tx": 0x11_0000}


def regions(*, rx: int = READ, tx: int = WRITE, pages: int = 2, **where: Any) -> dict[str, Any]:
    """What a manifest has with an RX and a TX buffer: somewhere, or in the partition's memory."""
    inside = where.pop("inside", False)
    return {
        "memory_regions": tuple(
            MemoryRegion(
                name=name,
                pages=pages,
                attributes=attributes,
                relative_offset=OFFSETS[name] if inside else None,
                **where,
            )
            for name, attributes in (("rx", rx), ("tx", tx))
        ),
        "rx_buffer": "rx",
        "tx_buffer": "tx",
    }


def system(**given: Any) -> System:
    quiet: dict[str, Any] = {"notification_support": False}
    return boot(
        sps=[sp("a", **given, **quiet), sp("b", **quiet)],
        vms=[vm("v", **given, **quiet), vm("w", **quiet)],
    )


@pytest.fixture(params=[False, True], ids=["elsewhere", "inside"])
def booted(request: pytest.FixtureRequest) -> System:
    return system(**regions(inside=request.param))


ENDPOINTS: list[Callable[[System], BlockingFfa]] = [
    lambda booted: booted.sp("a").ffa,
    lambda booted: booted.vm("v").ffa,
]


@pytest.mark.parametrize("of", ENDPOINTS, ids=["sp", "vm"])
def test_discovery_needs_no_rxtx_map(booted: System, of: Callable[[System], BlockingFfa]) -> None:
    ffa = of(booted)
    assert ffa.call(fid.FFA_PARTITION_INFO_GET, 0, 0, 0, 0, 0)[0] == fid.FFA_SUCCESS_32
    assert len(ffa.memory.read(ffa.buffers.rx, 24 * 4).rstrip(b"\0")) > 24


@pytest.mark.parametrize("of", ENDPOINTS, ids=["sp", "vm"])
def test_there_is_one_pair(booted: System, of: Callable[[System], BlockingFfa]) -> None:
    ffa = of(booted)
    with pytest.raises(FfaError, match="DENIED"):
        ffa.map_buffers()
    ffa.unmap_buffers()
    ffa.map_buffers()


@pytest.mark.parametrize(("sender", "receiver"), [("a", "b"), ("b", "a")])
def test_sps_send_through_it(booted: System, sender: str, receiver: str) -> None:
    booted.sp(receiver).ffa.partition_info()  # it has buffers now, if it had none
    booted.sp(sender).ffa.send2(booted.sp(receiver), b"hello")
    assert booted.sp(receiver).ffa.receive().payload == b"hello"


@pytest.mark.parametrize("receiver", ["w", "v"])
def test_the_spmc_knows_those_of_a_vm(booted: System, receiver: str) -> None:
    booted.vm(receiver).ffa.partition_info()
    booted.sp("a").ffa.send2(booted.vm(receiver), b"from an SP")
    assert booted.vm(receiver).ffa.receive().payload == b"from an SP"


def test_its_pages_are_nobodys_to_share(booted: System) -> None:
    ffa = booted.vm("v").ffa
    with pytest.raises(FfaError) as refused:
        ffa.share(ipa=ffa.buffers.tx, pages=1, to="w")
    assert refused.value.status is Status.DENIED


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (regions(tx=READ), "tx-buffer: tx is not mapped read-write"),
        (regions(pages=17), "rx-buffer: 17 pages: a buffer has up to 16"),
    ],
)
def test_what_no_call_could_map_is_refused(given: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigErrors, match=line):
        system(**given)


def test_sixteen_pages_are_the_most() -> None:
    assert system(**regions(pages=16)).vm("v").ffa.buffers.pages == 16


def test_a_kernel_maps_its_own() -> None:
    with pytest.raises(ConfigErrors, match="without a partition manager nobody maps its buffers"):
        boot(vms=[vm("kernel", **regions())], hypervisor=False)
