"""Every call with a descriptor, over all versions of sender, partition manager and receiver.

An endpoint is served at the lower one of its own version and its manager's. Each of the 64 triples
is played between SPs, between VMs, and from a VM to an SP, with managers of the same version.
"""

import itertools
from typing import Any
from uuid import UUID

import pytest
from memory_sides import NX, RW, Side

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.version import V1_1, V1_2, V1_3, VERSIONS, format_version
from ffabric.abi.words import PAGE
from ffabric.system.description.python import sp, vm

INDIRECT = 7
"""The messaging methods that every version knows."""
SERVICE = UUID("11111111-2222-3333-4444-555555555555")
IMPDEF = (0x1111_2222_3333_4444, 0x5555_6666_7777_8888)
WORLDS = {"sp-sp": (sp, sp), "vm-vm": (vm, vm), "vm-sp": (vm, sp)}
TRIPLES = [
    pytest.param(*triple, id="-".join(map(format_version, triple)))
    for triple in itertools.product(VERSIONS, repeat=3)
]
HEADERS = dict(zip(VERSIONS, (32, 48, 48, 48), strict=True))
RECEIVERS = dict(zip(VERSIONS, (16, 16, 32, 32), strict=True))
"""Bytes of a transaction's header, and of each receiver in it (DEN0140 1.2, tables 1.16, 1.20)."""
DESCRIBED = dict(zip(VERSIONS, (8, 24, 24, 48), strict=True))
"""Bytes that a partition is described in (DEN0077A 1.2, table 6.1; 1.3)."""

pytestmark = [
    pytest.mark.parametrize("world", WORLDS),
    pytest.mark.parametrize(("one", "manager", "two"), TRIPLES),
]


class Pair:
    """A sender `a` and a receiver `b`, of their versions, with their buffers mapped."""

    def __init__(self, ffabric, world, one, manager, two):
        described: dict[str, Any] = {"sps": [], "vms": []}
        for name, kind, version in zip("ab", WORLDS[world], (one, two), strict=True):
            made = kind(
                name,
                ffa_version=version,
                messaging_method=INDIRECT,
                notification_support=False,
                mem_size=8 << 20,
                uuids=(SERVICE,) if name == "b" else (),
            )
            described["sps" if kind is sp else "vms"].append(made)
        self.system = ffabric.boot(ffa_version=manager, **described)
        self.a, self.b = (self._side(name, world, at) for at, name in enumerate("ab"))
        self.one, self.two = min(one, manager), min(two, manager)
        for side, asked, agreed in ((self.a, one, self.one), (self.b, two, self.two)):
            assert side.ffa.call(fid.FFA_VERSION, asked)[0] == manager
            side.version = agreed
            side.ffa.call(fid.FFA_ID_GET)
            assert side.handle.endpoint.partition.version == agreed

    def _side(self, name, world, at):
        of = self.system.sp if WORLDS[world][at] is sp else self.system.vm
        return Side(of(name))


@pytest.fixture
def pair(ffabric, world, one, manager, two):
    return Pair(ffabric, world, one, manager, two)


def sizes(version, receivers=1, ranges=1):
    """How long a descriptor is."""
    return HEADERS[version] + RECEIVERS[version] * receivers + 16 + 16 * ranges


@pytest.mark.parametrize("kind", ["share", "lend", "donate"])
def test_memory_is_sent_retrieved_and_given_back(pair, kind):
    a, b = pair.a, pair.b
    sent = a.describe(kind, [b], [(a.pages(2), 2)])
    sent.receivers[0].impdef = IMPDEF
    assert len(abi.build_transaction(sent, a.version)) == sizes(pair.one)
    handle = a.send(kind, sent)
    wanted = b.request(handle, a, rights=RW if kind == "share" else RW | NX)
    if pair.one >= V1_2:
        wanted.receivers[0].impdef = IMPDEF
    got = b.take(wanted)
    assert len(abi.build_transaction(got, b.version)) == sizes(pair.two)
    assert (got.sender, got.handle, got.total_pages) == (a.id, handle, 2)
    if min(pair.one, pair.two) >= V1_2:
        assert got.receivers[0].impdef == IMPDEF
    at = got.constituents[0][0]
    b.memory.write(at, b"hello")
    if kind != "donate":
        b.relinquish(handle)
        a.reclaim(handle)
        assert a.memory.read(sent.constituents[0][0], 5) == b"hello"


def test_descriptors_in_pieces(pair):
    a, b = pair.a, pair.b
    at = a.pages(600)
    handle = a.ffa.share(b.id, ranges=[(at + n * 2 * PAGE, 1) for n in range(300)])
    got = b.ffa.retrieve(handle, a.id)
    assert sum(pages for _, pages in got.ranges) == 300
    b.ffa.relinquish(handle)
    a.ffa.reclaim(handle)


def test_partitions_are_described_in_the_callers_version(pair):
    for side, version in ((pair.a, pair.one), (pair.b, pair.two)):
        x = side.ffa.call(fid.FFA_PARTITION_INFO_GET, *[0] * 5)
        count, size = x[2], DESCRIBED[version]
        assert x[3] == (size if version >= V1_1 else 0)
        found = info.parse_partition_info(side.got(count * size), count, size)
        side.ffa.rx_release()
        assert {each.id for each in found} >= {pair.b.id}
        if version >= V1_1:
            (other,) = [each for each in found if each.id == pair.b.id]
            assert other.uuid == SERVICE
        if version >= V1_3:
            assert other.ffa_version == pair.b.handle.endpoint.partition.version


def test_partitions_are_described_in_registers_since_v1_2(pair, ffabric):
    for side, version in ((pair.a, pair.one), (pair.b, pair.two)):
        if version >= V1_2:
            assert pair.b.id in {each.id for each in side.ffa.partition_info_regs()}
            continue
        with ffabric.refuses("abi.newer_than_negotiated"):
            side.call(fid.FFA_PARTITION_INFO_GET_REGS)


def test_messages_have_a_header_since_v1_1(pair, ffabric):
    payload = bytes(range(1, 61))
    if pair.one < V1_1:
        with ffabric.refuses("abi.newer_than_negotiated"):
            pair.a.call(fid.FFA_MSG_SEND2)
    elif pair.two < V1_1:
        with ffabric.refuses("message.receiver_version"):
            pair.a.ffa.send2(pair.b.id, payload)
    else:
        pair.a.ffa.send2(pair.b.id, payload, uuid=SERVICE)
        message = pair.b.ffa.receive()
        assert (message.sender, message.payload) == (pair.a.id, payload)
        if min(pair.one, pair.two) >= V1_2:
            assert message.uuid == SERVICE
