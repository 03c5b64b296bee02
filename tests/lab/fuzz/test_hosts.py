"""Random calls where hosts donate the memory of protected VMs, and devices have DMA."""

import pytest

from ffabric.lab.fuzz.campaign import HOSTS, Plan, State, campaign, play
from ffabric.lab.fuzz.episodes import Episode
from ffabric.lab.fuzz.report import Report
from ffabric.lab.fuzz.stage import Stage
from ffabric.lab.fuzz.systems import HOSTS as SYSTEMS
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.processes import Players, spread
from ffabric.machine.translation.smmu import Entry


def episode(seed, system):
    """An episode on a system by its number."""
    for number in range(50):
        made = Episode(f"{seed}{number}", Report(), hosts=True)
        if made.stage.system.spec is SYSTEMS[system].spec:
            return made
        made.stage.__exit__(None)
    raise LookupError(system)


def test_nothing_is_wrong_there():
    state = State(Plan(HOSTS, 5, 1500))
    games = campaign(state, Players(spread, 1))
    assert all(played.failure is None for played in games)
    assert state.report.calls >= 1500
    assert play("hosts/5/0/1500").failure is None


@pytest.mark.parametrize("cast", SYSTEMS)
def test_a_host_donates_the_memory_of_a_vm_that_comes(cast):
    with Stage(cast.spec, cast.hostile, 1, host=cast.host) as stage:
        (first, *_) = stage.create()
        host = next(actor for actor in stage.actors if actor.endpoint.name == cast.host)
        pieces = [piece.pa for piece in first.endpoint.spec.memory]
        assert pieces
        for run in host.endpoint.spec.memory:
            inside = [pa for pa in pieces if run.pa <= pa < run.pa + run.size]
            assert inside or run.size < 4 << 20
        stage.check()
        stage.destroy(first.endpoint.name)
        stage.check()


def test_a_device_stores_where_its_partition_may():
    with episode("device", 1) as made:
        actor = next(actor for actor in made.stage.actors if actor.name == "mallory.0")
        assert made.stage.streams["mallory"]
        for ipa in (actor.ram.base, actor.ram.base + actor.ram.size, 1 << 39):
            made._touch(actor, ipa)


def test_a_device_that_stores_where_its_partition_may_not_is_found():
    with episode("found", 1) as made:
        actor = next(actor for actor in made.stage.actors if actor.name == "mallory.0")
        (stream,) = made.stage.streams["mallory"]
        made.stage.system.smmu.table[stream] = Entry("mallory")  # it bypasses translation
        with pytest.raises(Discrepancy, match=r"a device of mallory\.0 stores at"):
            made._touch(actor, actor.endpoint.spec.memory[0].pa)
