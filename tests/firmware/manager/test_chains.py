"""Chains of calls: who runs, who waits for whom, and who may go on with what."""

import pytest
from chain_sides import REQ, RESP, RESP2, links

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.state.context import State


@pytest.fixture
def chain(ffabric):
    """A VM and three SPs."""
    return links(ffabric, ["a", "b", "c"], ["v"])


def test_a_chain_winds_and_unwinds(chain):
    v, a, b, c = chain
    v.ask(a, 1)
    assert a.x[:4] == [REQ, v.id << 16 | a.id, 0, 1]
    a.ask(b, 2)
    b.ask(c, 3)
    assert [each.state for each in (a, b, c)] == [State.BLOCKED, State.BLOCKED, State.RUNNING]
    c.answer(b, 4)
    assert b.x[:4] == [RESP, c.id << 16 | b.id, 0, 4]
    b.answer(a, 5)
    a.answer(v, 6)
    assert v.x[:4] == [RESP, a.id << 16 | v.id, 0, 6]
    assert [each.state for each in (a, b, c)] == [State.WAITING] * 3


def test_nobody_in_a_chain_is_asked_again(ffabric, chain):
    v, a, b, c = chain
    v.ask(a)
    a.ask(b)
    b.ask(c)
    for other in (a, b):
        with ffabric.refuses("direct.req.receiver_busy"):
            c.ffa.direct_request(other.id)


# FFA_YIELD and FFA_RUN


def test_who_yields_is_resumed_by_whoever_asked(ffabric, chain):
    v, a, b, _ = chain
    v.ask(a)
    a.ask(b)
    b.leave(fid.FFA_YIELD, 0, 0x11, 0x22)
    assert a.x[:8] == [fid.FFA_YIELD, b.word, 0x11, 0x22, 0, 0, 0, 0]
    assert b.state is State.BLOCKED
    with ffabric.refuses("direct.req.receiver_busy"):
        a.ffa.direct_request(b.id)
    a.leave(fid.FFA_RUN, b.word)
    assert b.x[0] == fid.FFA_SUCCESS_32
    b.answer(a, 7)
    assert a.x[3] == 7


def test_nobody_else_resumes_it(ffabric, chain):
    # or b's answer would reach a while a waits for c's
    v, a, b, c = chain
    v.ask(a)
    a.ask(b)
    b.leave(fid.FFA_YIELD)
    a.ask(c)
    with ffabric.refuses("run.not_the_caller"):
        c.must(fid.FFA_RUN, b.word)
    c.answer(a, 9)
    assert a.x[:4] == [RESP, c.id << 16 | a.id, 0, 9]
    a.leave(fid.FFA_RUN, b.word)
    assert b.has_control


def test_not_even_the_scheduler_while_the_asker_does_something_else(ffabric, chain):
    v, a, b, _ = chain
    v.ask(a)
    a.ask(b)
    b.leave(fid.FFA_YIELD)
    a.answer(v)
    with ffabric.refuses("run.not_the_caller"):
        v.must(fid.FFA_RUN, b.word)
    v.ask(a)
    a.leave(fid.FFA_RUN, b.word)
    b.answer(a, 8)
    assert a.x[:4] == [RESP, b.id << 16 | a.id, 0, 8]
    a.answer(v)
    assert [a.state, b.state] == [State.WAITING] * 2


def test_a_yield_under_ffa_run_goes_to_the_scheduler(chain):
    v, a, *_ = chain
    v.leave(fid.FFA_RUN, a.word)
    assert a.x[:2] == [fid.FFA_RUN, a.word]
    a.leave(fid.FFA_YIELD)
    assert v.x[:2] == [fid.FFA_YIELD, a.word]
    v.leave(fid.FFA_RUN, a.word)
    a.wait()
    assert v.x[0] == fid.FFA_MSG_WAIT


@pytest.mark.parametrize("register", [4, 5, 6, 7])
def test_a_yield_says_nothing_but_a_time(ffabric, chain, register):
    v, a, *_ = chain
    v.ask(a)
    with ffabric.refuses("yield.mbz"):
        a.must(fid.FFA_YIELD, *[int(at == register) for at in range(1, 8)])
    a.leave(fid.FFA_YIELD, 0, 1, 1)


def test_only_who_has_stopped_is_run_by_an_sp(ffabric, chain):
    v, a, b, _ = chain
    v.ask(a)
    with ffabric.refuses("run.target_state"):
        a.must(fid.FFA_RUN, b.word)
    a.ask(b)
    with ffabric.refuses("run.target_state"):
        b.must(fid.FFA_RUN, a.word)
    b.leave(fid.FFA_YIELD)
    a.leave(fid.FFA_RUN, b.word)


def test_the_target_of_run_is_an_sp_and_one_of_its_contexts(ffabric, chain):
    v, a, b, _ = chain
    v.ask(a)
    for word, rule in {
        a.word: "run.target",
        a.word | 1: "run.target",
        b.word | 1: "run.target",
        b.word | 0xFFFF: "run.target",
        0x8777 << 16: "run.not_an_sp",
        v.word: "run.not_an_sp",
        0: "run.not_an_sp",
    }.items():
        with ffabric.refuses(rule):
            a.must(fid.FFA_RUN, word)


def test_the_normal_world_wakes_who_waits(chain):
    v, a, b, _ = chain
    v.leave(fid.FFA_RUN, a.word)
    a.ask(b)
    b.answer(a)
    a.wait()
    assert v.x[:8] == [fid.FFA_MSG_WAIT, 0, 0, 0, 0, 0, 0, 0]


def test_who_lent_cycles_keeps_what_a_wait_does_not_say(ffabric):
    k, a = links(ffabric, ["a"], ["k"], hypervisor=False)
    rest = [*range(0x108, 0x112)]
    k.leave(fid.FFA_RUN, a.word, *[0] * 6, *rest)
    a.wait()
    assert k.x == [fid.FFA_MSG_WAIT, *[0] * 7, *rest]


def test_cycles_that_were_lent_may_be_taken_back(ffabric):
    v, w, a = links(ffabric, ["a"], ["v", "w"])
    v.leave(fid.FFA_RUN, a.word)
    w.ffa.id_get()  # the scheduler takes the PE from a
    assert a.state is State.PREEMPTED
    assert v.x[:8] == [fid.FFA_INTERRUPT, a.word, 0, 0, 0, 0, 0, 0]
    v.leave(fid.FFA_RUN, a.word)
    a.wait()
    assert v.x[0] == fid.FFA_MSG_WAIT


def test_nobody_is_told_of_cycles_that_the_scheduler_gave(ffabric):
    for hypervisor in (True, False):
        v, a = links(ffabric, ["a"], ["v"], hypervisor=hypervisor)
        v.ffa.spm_id_get()
        before = list(v.x)
        a.ffa.id_get()  # the scheduler gives a the PE
        v.handle.endpoint.take()
        assert v.x == before
        a.ffa.id_get()
        a.wait()
        assert v.x == before


# Runtime models


def test_a_request_is_answered_not_waited_out(ffabric, chain):
    v, a, *_ = chain
    v.ask(a)
    with ffabric.refuses("runtime.transition"):
        a.must(fid.FFA_MSG_WAIT)
    a.answer(v)


@pytest.mark.parametrize("function", [RESP, RESP2, fid.FFA_MSG_SEND_DIRECT_RESP_32])
def test_without_a_request_there_is_no_response(ffabric, chain, function):
    v, a, *_ = chain
    v.leave(fid.FFA_RUN, a.word)
    with ffabric.refuses("runtime.transition"):
        a.must(function, a.id << 16 | v.id)
    a.wait()
    with ffabric.refuses("runtime.transition"):
        v.must(function, v.id << 16 | a.id)


@pytest.mark.parametrize("flags", [2, 1 << 31, 0xFFFF_FFFE])
def test_the_flags_of_a_wait(ffabric, chain, flags):
    v, a, *_ = chain
    v.leave(fid.FFA_RUN, a.word)
    with ffabric.refuses("wait.flags_mbz"):
        a.must(fid.FFA_MSG_WAIT, 0, flags)
    a.leave(fid.FFA_MSG_WAIT, 0, 1)


def test_a_wait_gives_rx_back_unless_told_not_to(ffabric, chain):
    v, a, *_ = chain
    v.leave(fid.FFA_RUN, a.word)
    a.ffa.partition_info()
    a.must(fid.FFA_PARTITION_INFO_GET)
    a.leave(fid.FFA_MSG_WAIT, 0, 1)
    v.leave(fid.FFA_RUN, a.word)
    a.ffa.rx_release()
    a.must(fid.FFA_PARTITION_INFO_GET)
    a.leave(fid.FFA_MSG_WAIT)
    v.leave(fid.FFA_RUN, a.word)
    with ffabric.refuses("rx.release.empty"):
        a.ffa.rx_release()


# The end of a partition in a chain


@pytest.mark.parametrize("status", [0xFFFFFFFE, 0, 7])
def test_who_gives_up_has_aborted(ffabric, chain, status):
    v, a, b, _ = chain
    v.ask(a)
    a.ask(b)
    b.leave(fid.FFA_ERROR, 0, status)
    assert a.status.name == "ABORTED"
    assert b.state is State.ABORTED
    with ffabric.refuses("direct.req.receiver_aborted"):
        a.ffa.direct_request(b.id)
    with ffabric.refuses("run.target_aborted"):
        a.must(fid.FFA_RUN, b.word)
    a.answer(v)


def test_what_a_dead_sp_had_borrowed_goes_back(ffabric, chain):
    v, _, b, c = chain
    at = v.handle.ram.allocate(1)
    lent = v.ffa.lend(b.id, ipa=at)
    shared = v.ffa.share([b.id, c.id], ipa=v.handle.ram.allocate(1))
    v.leave(fid.FFA_RUN, b.word)
    b.ffa.retrieve(lent, v.id, permissions=2 | 4)
    got = b.ffa.retrieve(shared, v.id, others=[(c.id, 2)])
    sent = b.ffa.lend(c.id, ipa=b.handle.ram.allocate(1))
    kept = b.ffa.lend(c.id, ipa=b.handle.ram.allocate(1))
    b.ask(c)
    mine = c.ffa.retrieve(kept, b.id, permissions=2 | 4)
    c.answer(b)
    b.leave(fid.FFA_ERROR, 0, 1)
    assert v.status.name == "ABORTED"
    for handle in (lent, shared):
        v.ffa.reclaim(handle)
    assert v.handle.memory.read(at, 4) == bytes(4)
    spmc = v.session.system.firmware.spmc
    assert [*spmc.regions.live] == [kept]
    assert sent != kept
    v.leave(fid.FFA_RUN, c.word)
    c.handle.memory.write(mine.ipa, b"still mine")
    c.ffa.relinquish(kept)
    assert not spmc.regions.live
    assert got.ranges
