"""Endpoints and partition managers of different versions of FF-A understand each other."""

import contextlib
import itertools
from typing import Any
from uuid import UUID

import msgspec
import pytest

from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.uuids import NIL
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3, format_version
from ffabric.guests.errors import FfaError
from ffabric.session.booting import boot
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import describe, sp, vm

SERVICE = UUID("11111111-2222-3333-4444-555555555555")
OTHER_SERVICE = UUID("33333333-2222-3333-4444-555555555555")
UNKNOWN = UUID("77777777-2222-3333-4444-555555555555")
SERVICES: dict[str, Any] = {"uuids": (SERVICE, OTHER_SERVICE)}
PAYLOAD = bytes(range(1, 61))
INDIRECT = 7
"""The messaging methods that every version knows."""
PAIRS = [("v", "w"), ("v", "t"), ("s", "w"), ("s", "t")]


def versions(*some):
    """Every mix: of the sender, the hypervisor, the SPMC, and the receiver."""
    names = ("sender", "hypervisor", "spmc", "receiver")
    return [
        pytest.param(
            mix,
            id="-".join(f"{n}-{format_version(v)}" for n, v in zip(names, mix, strict=True)),
        )
        for mix in itertools.product(some, repeat=4)
    ]


@pytest.fixture
def mixed(ffabric):
    """Boots VMs ``v`` and ``w``, SPs ``s`` and ``t``; ``v`` and ``s`` have the sender's version."""
    sessions = []

    def make(mix):
        one, hypervisor, spmc, two = mix
        spec = describe(
            sps=[
                sp("s", ffa_version=one, messaging_method=INDIRECT),
                sp("t", ffa_version=two, messaging_method=INDIRECT, **SERVICES),
            ],
            vms=[
                vm("v", ffa_version=one, messaging_method=INDIRECT),
                vm("w", ffa_version=two, messaging_method=INDIRECT, **SERVICES),
            ],
        )
        replace = msgspec.structs.replace
        spec = replace(
            spec,
            hypervisor=replace(spec.hypervisor, ffa_version=hypervisor),  # type: ignore[type-var]
            spmc=replace(spec.spmc, ffa_version=spmc),
        )
        session = boot(spec)
        sessions.append(session)
        calls = {name: session.vm(name).ffa for name in "vw"}
        calls |= {name: session.sp(name).ffa for name in "st"}
        for name, ffa in calls.items():
            ffa.negotiate(one if name in "vs" else two)
            ffa.map_buffers()
        return calls

    yield make
    for session in sessions:
        session.close()


@pytest.mark.parametrize("mix", versions(V1_1, V1_2, V1_3))
def test_messages(mixed, mix):
    calls = mixed(mix)
    for sender, receiver in PAIRS:
        with contextlib.suppress(Blocked):  # the receiver is scheduled at once
            calls[sender].send2(receiver, PAYLOAD, uuid=SERVICE)
        message = calls[receiver].receive()
        if receiver == "t":
            with contextlib.suppress(Blocked):
                calls[receiver].msg_wait()
        assert message.payload == PAYLOAD, (sender, receiver)
        assert (message.sender, message.receiver) == (
            calls[sender].endpoint,
            calls[receiver].endpoint,
        )
        on_the_way = {calls[sender].version, calls[receiver].version}
        if not {sender, receiver} <= {"s", "t"}:
            on_the_way |= {mix[1]}
        if {sender, receiver} != {"v", "w"}:
            on_the_way |= {mix[2]}
        assert message.uuid == (SERVICE if min(on_the_way) >= V1_2 else NIL), (sender, receiver)


@pytest.mark.parametrize("mix", versions(V1_0, V1_1, V1_3))
def test_partition_information(mixed, mix):
    calls = mixed(mix)
    for name, ffa in calls.items():
        known = {each.id: each for each in reversed(ffa.partition_info())}
        manager = mix[1] if name in "vw" else mix[2]
        assert ffa.version == min(mix[0] if name in "vs" else mix[3], manager)
        seen = set("stvw") if name in "vw" else set("st")
        assert set(known) == {calls[each].endpoint for each in seen}
        described = known[calls["t"].endpoint]
        told = min(ffa.version, *mix[1:3]) if name in "vw" else ffa.version
        assert described.uuid == (SERVICE if told >= V1_1 else NIL)
        assert described.properties & info.INDIRECT_MESSAGES


@pytest.mark.parametrize("mix", versions(V1_0, V1_1, V1_2))
def test_partitions_are_found_by_uuid(mixed, mix):
    calls = mixed(mix)
    for name, ffa in calls.items():
        seen = "tw" if name in "vw" else "t"
        for wanted in (SERVICE, OTHER_SERVICE):
            found = {each.id for each in ffa.partition_info(wanted)}
            assert found == {calls[each].endpoint for each in seen}
            if ffa.version >= V1_2:
                assert {each.id for each in ffa.partition_info_regs(wanted)} == found
        with pytest.raises(FfaError, match="INVALID_PARAMETERS"):
            ffa.partition_info(UNKNOWN)


@pytest.mark.parametrize("mix", versions(V1_0, V1_1, V1_2))
def test_memory(mixed, mix):
    calls = mixed(mix)
    for sender, receiver in [("v", "w"), ("v", "t"), ("s", "t")]:
        one, two = calls[sender], calls[receiver]
        ipa = one.ram.allocate(2)
        one.memory.write(ipa, PAYLOAD)
        handle = one.share(receiver, ipa=ipa, pages=2)
        got = two.retrieve(handle, sender)
        assert two.memory.read(got.ipa, len(PAYLOAD)) == PAYLOAD
        two.relinquish(handle)
        one.reclaim(handle)
