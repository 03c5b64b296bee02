"""Campaigns against a user's partitions: what they find, how small, and the same every time."""

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory, memory_words
from ffabric.lab.calls.lines import Call
from ffabric.lab.calls.systems import drive
from ffabric.lab.faults.catalogue import find
from ffabric.lab.guided import playing
from ffabric.lab.guided.campaign import Attack, State, campaign, work
from ffabric.lab.guided.cases import decode
from ffabric.lab.guided.playing import Stage
from ffabric.lab.guided.scene import look_at
from ffabric.lab.processes import Players, spread
from ffabric.system.description.toml.system import read_system


@pytest.fixture
def attacked(system_file):
    """Plays a campaign against SPs of these classes: how far it is in the end."""

    def attack(*classes, calls=40_000, seed=1, processes=1, keep_going=False, cases=()):
        state = State(Attack(str(system_file(*classes)), ("client",)), seed)
        state.begin_with(cases)
        for _ in campaign(state, calls, Players(spread, processes), keep_going=keep_going):
            pass
        return state

    return attack


def found(state):
    (broken,) = state.broken.values()
    return broken.finding, decode(broken.text)[0]


def test_a_crash_that_needs_two_requests_and_a_number_is_found_and_is_two_calls(attacked):
    finding, calls = found(attacked("Vault"))
    assert (finding.kind, finding.who) == ("crashed", "vault")
    assert finding.reason == "RuntimeError: opened by force"
    assert "partitions.py:" in finding.where
    assert [call.x[3] for call in calls] == [0xBE, 2]
    assert calls[1].x[4] == 0xC0DE


def test_a_crash_over_what_stands_in_shared_memory_is_found(attacked):
    finding, calls = found(attacked("Reader", seed=4))
    assert finding.reason == "ValueError: what a word"
    assert any(b"BOOM" in data for call in calls for _, data in call.write)


def test_a_partition_that_computes_for_ever_is_wedged(attacked, monkeypatch):
    monkeypatch.setattr(playing, "PATIENCE", 0.2)
    finding, calls = found(attacked("Spinner"))
    assert (finding.kind, finding.who) == ("wedged", "spinner")
    assert len(calls) == 1


def test_a_request_that_nobody_answers_is_found(attacked):
    finding, calls = found(attacked("Silent"))
    assert (finding.kind, finding.who) == ("unanswered", "silent")
    assert calls[0].x[3] == 7


@pytest.mark.parametrize(
    ("invariants", "broken"), [((), []), (("ownership", "buffers"), ["invariant"])]
)
def test_invariants_are_judged_if_they_are_named(system_file, invariants, broken):
    file = system_file("Careful")
    spec = drive(read_system(file), ["client"])
    (client,) = look_at(spec, ["client"]).attackers
    shared = memory.Transaction(
        sender=client.id,
        attributes=memory_words.MEM_ATTR_NORMAL_WB_INNER,
        receivers=[memory.Receiver(0x8001, memory_words.PERM_DATA_RW)],
        constituents=[(client.base, 1)],
    )
    data = memory.build_transaction(shared, client.version)
    share = [fid.FFA_MEM_SHARE_64, len(data), len(data)]
    calls = [
        Call(1, "client", x=[fid.FFA_RXTX_MAP_64, client.tx, client.rx, 1]),
        *(Call(line, "client", x=share, write=[(client.tx, data)]) for line in (2, 3)),
        Call(4, "client", x=[fid.FFA_ID_GET]),
    ]
    with find("optee_os_5803").on():
        found = Stage(spec, ["client"], file.parent, invariants).play(calls).finding
    assert [each.kind for each in (found,) if each is not None] == broken
    assert Stage(spec, ["client"], file.parent, invariants).play(calls).finding is None


def test_nothing_is_found_where_nothing_is_wrong(attacked):
    state = attacked("Careful", calls=600)
    assert not state.broken
    assert state.calls >= 600


def test_going_on_finds_the_faults_of_all(attacked):
    state = attacked("Silent", "Careless", keep_going=True, calls=1_000)
    assert {each.finding.who for each in state.broken.values()} == {"silent", "careless"}


def test_lines_of_the_users_python_count_and_others_do_not(attacked):
    lines = {each for each in attacked("Careful", calls=100).features if each.startswith("line ")}
    assert lines
    assert all(each.startswith("line partitions.py:") for each in lines)


def test_it_does_not_matter_how_many_processes_play(attacked):
    one, two = (attacked("Careful", calls=900, processes=count) for count in (1, 2))
    assert one.digest == two.digest
    assert one.corpus == two.corpus


def test_another_seed_is_another_campaign(attacked):
    assert attacked("Careful", calls=100).digest != attacked("Careful", calls=100, seed=2).digest


def test_the_smallest_corpus_reaches_all_that_was_reached(attacked):
    state = attacked("Vault", calls=900)
    smallest = state.smallest_corpus()
    assert set().union(*(each.features for each in smallest.values())) == state.features
    assert len(smallest) <= len(state.corpus)


def test_a_campaign_begins_with_an_earlier_corpus(attacked):
    first = attacked("Vault", calls=900)
    texts = [each.text for each in first.corpus.values()]
    again = attacked("Vault", calls=0, cases=texts)
    assert again.features == first.features


def test_what_a_job_finds_depends_on_the_job_alone(attacked):
    state = attacked("Reader", calls=200)
    job = state.jobs()[0]
    assert work(job) == work(job)
