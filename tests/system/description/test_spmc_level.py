"""The SPMC at S-EL2, S-EL1 and EL3: the partitions that it manages there, and their calls."""

from pathlib import Path

import pytest

from ffabric.abi.ffa.status import Status
from ffabric.guests import images
from ffabric.guests.errors import FfaError
from ffabric.system.description.python import describe, sp
from ffabric.system.description.spmc_level import SPMC_LEVELS
from ffabric.system.manifest.manifest import ExceptionLevel
from ffabric.system.options.problems import SystemErrors

IMAGES = Path(images.__file__).parent
S_EL0, S_EL1 = ExceptionLevel.S_EL0, ExceptionLevel.S_EL1


def described(level, *sps, **others):
    return describe(sps=list(sps), spmc_level=level, **others)


def test_an_spmc_at_s_el2_has_partitions_at_both_levels():
    described("s-el2", "a", "b", sp("c", exception_level=S_EL0))


@pytest.mark.parametrize(
    ("level", "sps", "message"),
    [
        ("s-el3", [], "[spmc]: exception_level: 's-el3' is not one of s-el2, s-el1, el3"),
        ("s-el1", ["a"], "a: exception-level: S_EL1: an SPMC at s-el1 has none there"),
        ("el3", ["a", "b"], "[spmc]: exception_level: el3 has at most 1 SP at S-EL1, not a, b"),
        (
            "el3",
            [sp("a", execution_ctx_count=1)],
            "a: execution-ctx-count: 1: an SP at S-EL1 below an SPMC at el3 has 2",
        ),
    ],
)
def test_what_an_spmc_does_not_manage_is_told(level, sps, message):
    with pytest.raises(SystemErrors) as error:
        described(level, *sps, pes=2)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("level", "at", "personality"),
    [
        ("s-el2", S_EL1, "hafnium"),
        ("s-el2", S_EL0, "hafnium"),
        ("s-el1", S_EL0, "optee-spmc"),
        ("el3", S_EL1, "tf-a-el3"),
        ("el3", S_EL0, "tf-a-el3"),
    ],
)
def test_memory_is_lent_to_a_partition_below_an_spmc_at_each_level(ffabric, level, at, personality):
    system = ffabric.boot(
        sps=[sp("s", exception_level=at)], vms=["v"], spmc_level=level, personality=personality
    )
    client, service = system.vm("v"), system.sp("s")
    client.ffa.map_buffers()
    ipa = client.ram.allocate(1)
    handle = client.ffa.share(ipa=ipa, pages=1, to="s")
    service.ffa.retrieve(handle, sender="v")
    service.ffa.relinquish(handle)
    client.ffa.reclaim(handle)
    if personality == "hafnium":
        client.ffa.donate(ipa=ipa, pages=1, to="s")
    else:
        with pytest.raises(FfaError) as refused:
            client.ffa.donate(ipa=ipa, pages=1, to="s")
        assert refused.value.status is Status.NOT_SUPPORTED


@pytest.mark.parametrize(
    ("level", "image", "at"),
    [
        ("el3", "adder_smc.bin", S_EL1),
        ("el3", "adder_svc.bin", S_EL0),
        ("s-el1", "adder_svc.bin", S_EL0),
    ],
)
def test_an_image_answers_below_an_spmc_at_each_level(ffabric, level, image, at):
    """At S-EL1 with SMC, at S-EL0 with SVC."""
    adder = sp("adder", image=IMAGES / image, exception_level=at)
    system = ffabric.boot(sps=[adder], vms=["v"], spmc_level=level, pes=1)
    assert system.vm("v").ffa.direct_request("adder", 2, 3).payload[0] == 5


def test_each_level_says_where_it_is_from():
    assert all(each.source and each.sps for each in SPMC_LEVELS.values())
