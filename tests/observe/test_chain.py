from ffabric.abi.ffa import functions as fid
from ffabric.machine.events import Resume
from ffabric.observe.chain import Chains

REQ, RESP, WAIT = fid.FFA_MSG_SEND_DIRECT_REQ_64, fid.FFA_MSG_SEND_DIRECT_RESP_64, fid.FFA_MSG_WAIT


def at(name, pe=0):
    return Resume(pe, name, 0)


def test_a_request_lends_cycles_down_the_chain_and_back():
    chains = Chains()

    assert chains.call(at("vm"), REQ) == 0
    assert chains.resume(at("sp1")) == 1
    assert chains.call(at("sp1"), REQ) == 1
    assert chains.resume(at("sp2")) == 2
    assert chains.call(at("sp2"), RESP) == 2
    assert chains.resume(at("sp1")) == 1
    assert chains.call(at("sp1"), RESP) == 1
    assert chains.resume(at("vm")) == 0


def test_a_refused_request_lends_nothing():
    chains = Chains()
    chains.call(at("vm"), REQ)

    assert chains.resume(at("vm")) == 0
    assert chains.resume(at("sp")) == 0


def test_what_the_scheduler_chooses_begins_a_chain():
    chains = Chains()
    chains.call(at("sp1"), WAIT)

    assert chains.resume(at("sp2")) == 0


def test_each_pe_has_a_chain_of_its_own():
    chains = Chains()
    chains.call(at("vm", pe=0), fid.FFA_RUN)
    chains.call(at("vm2", pe=1), WAIT)

    assert chains.resume(at("sp", pe=1)) == 0
    assert chains.resume(at("sp2", pe=0)) == 1
