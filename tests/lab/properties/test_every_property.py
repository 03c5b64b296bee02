"""Properties hold of our firmware, and each notices a bug that breaks it."""

from random import Random

import pytest

from ffabric.lab.faults.catalogue import find
from ffabric.lab.fuzz.campaign import PROPERTIES as KIND
from ffabric.lab.fuzz.campaign import Plan, State, campaign, play
from ffabric.lab.processes import Players, spread
from ffabric.lab.properties.playing import PROPERTIES

SEEDS = range(6)
MOST = 60


def tried(name, seeds):
    """How many trials a property has held in, and what has shown that it does not."""
    act, kind = PROPERTIES[name]
    for number in seeds:
        try:
            with kind(Random(f"test/{number}/{name}")) as trial:
                act(trial)
        except Exception as error:  # noqa: BLE001 - whatever a bug makes of the firmware
            return number, error
        assert trial.calls > 0
    return len(seeds), None


@pytest.mark.parametrize("name", PROPERTIES)
def test_it_holds(name):
    assert tried(name, SEEDS) == (len(SEEDS), None)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("partitions", "haf_9decd785"),
        ("partitions", "cve_2023_53256"),
        ("abilities", "haf_6fd6c1d6"),
        ("negotiation", "tfa_8fb85514c"),
        ("direct messages", "haf_c60cc1f4"),
        ("who takes messages", "haf_7ea3f7ec"),
        ("indirect messages", "haf_37b75119"),
        ("buffers", "lnx_rxtx_unmap_id"),
        ("sending memory", "ote_92870f11b"),
        ("sending memory", "tfa_3954bc3c0"),
        ("retrieving memory", "haf_f220d57a"),
        ("clearing memory", "haf_4b846eb8"),
        ("fragments", "ote_987f71ff4"),
        ("notifications of SPs", "haf_6045881f"),
        ("notifications of VMs", "haf_fc50ef7d"),
        ("notifications for SPs", "lnx_be4d4543f780"),
        ("interrupts", "haf_eda971da"),
        ("interrupts", "haf_cab82997"),
        ("interrupts", "ote_af06edb53"),
        ("interrupts on two PEs", "ffabric_x2"),
        ("memory regions", "haf_4afbfd71"),
        ("start of SPs", "hafnium_issue_4"),
        ("boot order", "haf_beeb6dcd"),
        ("boot information", "haf_00d3b632"),
        ("ids of VMs", "ffabric_x4"),
        ("virtqueue at its device", "openvmm_4036"),
        ("virtqueue at its driver", "serenity_26513"),
        ("requests that change", "tfa_04b47dd94"),
        ("messages that change", "xen_c447b7308b"),
        ("no memory left", "kvm_ffa_rollback"),
        ("the end of a VM", "ffabric_x1"),
        ("VMs in OP-TEE", "optee_bank"),
    ],
)
def test_a_bug_that_breaks_it_is_noticed(name, fault):
    with find(fault).on():
        _, error = tried(name, range(MOST))
    assert error is not None


def test_an_episode_tries_them_by_turns_and_comes_back_by_its_name():
    state = State(Plan(KIND, 3, 400))
    (played,) = campaign(state, Players(spread, 1))
    assert played.failure is None
    assert state.report.calls >= 400
    assert play("properties/3/0/400") == played


def test_a_failure_names_the_property():
    with find("haf_9decd785").on():
        failure = play("properties/1/0/2500").failure
    assert failure is not None
    assert failure.what.startswith("Discrepancy: partitions: ")
    assert failure.episode == "properties/1/0/2500"
