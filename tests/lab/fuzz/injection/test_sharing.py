"""Pairs of events with what they have in common played once count what each counts by itself."""

import gc
from random import Random

import pytest

from ffabric.firmware.state.context import TABLE, ChainedContext
from ffabric.lab.faults.catalogue import find
from ffabric.lab.fuzz import campaign
from ffabric.lab.fuzz.campaign import PAIRS, Plan, State, injections, play
from ffabric.lab.fuzz.injection.scenarios import SCENARIOS
from ffabric.lab.fuzz.injection.sharing import Theatre
from ffabric.lab.processes import Players, spread


def pairs_of(name, boundaries):
    """Numbers of the pairs of a scenario whose second event is before so many boundaries."""
    names = [*SCENARIOS]
    number, events = names.index(name), len(SCENARIOS[name].events)
    start = injections(PAIRS)._ends[number - 1] if number else 0
    return range(start, start + events * events * boundaries * (boundaries + 1) // 2)


@pytest.fixture
def theatre(request):
    made = Theatre(request.param)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("theatre", "boundaries", "amount"),
    [("kernel-cycles", 12, 12), ("interrupt", 7, 8), ("leave", 6, 8), ("come", 5, 8)],
    indirect=["theatre"],
)
def test_a_pair_counts_what_it_counts_by_itself(request, theatre, boundaries, amount):
    there = pairs_of(request.node.callspec.params["theatre"], boundaries)
    for number in sorted(Random(3).sample(there, amount)):
        pair = injections(PAIRS).place(number)
        by_itself = play(str(pair))
        assert by_itself.failure is None
        assert theatre.report(pair) == by_itself.report, pair


@pytest.mark.parametrize("theatre", ["kernel-chain"], indirect=True)
def test_it_cannot_go_back(theatre):
    there = pairs_of("kernel-chain", 2)
    theatre.report(injections(PAIRS).place(there[-1]))
    with pytest.raises(ValueError, match="boundary 1 has been reached"):
        theatre.report(injections(PAIRS).place(there[0]))


@pytest.mark.parametrize(
    ("fault", "name", "boundaries"),
    [("ote_67fecef3c", "kernel-share", 12), ("kvm_ffa_frag_tx", "pieces", 3)],
)
def test_it_says_of_which_pairs_something_is_wrong(fault, name, boundaries):
    """Retrieved memory is reclaimed; a transaction in pieces is never forgotten."""
    chosen = sorted(Random(4).sample(pairs_of(name, boundaries), 8))
    with find(fault).on():
        theatre = Theatre(name)
        for number in chosen:
            pair = injections(PAIRS).place(number)
            failure = play(str(pair)).failure
            assert (theatre.report(pair) is None) == (failure is not None), pair
        theatre.close()
        assert failure is not None


def test_a_campaign_of_all_pairs_is_the_same_wherever_it_was_interrupted():
    def played(state, amount):
        games = campaign.campaign(state, Players(spread, 1))
        found = [next(games) for _ in range(amount)]
        games.close()
        return found

    verbs = [getattr(ChainedContext, verb) for verb in TABLE.verbs]
    whole, parts = State(Plan(PAIRS, 1, 0)), State(Plan(PAIRS, 1, 0))
    first = played(whole, 40)
    second = played(parts, 15)
    second += played(parts, 25)
    assert first == second
    assert whole.digest == parts.digest
    assert gc.isenabled()
    assert verbs == [getattr(ChainedContext, verb) for verb in TABLE.verbs]
    assert [each.episode for each in first[:2]] == [*map(str, injections(PAIRS)[:2])]
    assert first[21] == play(first[21].episode)
