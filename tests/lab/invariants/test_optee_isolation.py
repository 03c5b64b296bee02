"""What one VM has in a virtualized OP-TEE is nothing to another: who breaks that is noticed."""

import pytest

from ffabric import boot
from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee import smc
from ffabric.abi.optee.message import Command, Fmem, Rmem, Type, Value
from ffabric.abi.words import MASK32
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.lab.faults import tee
from ffabric.lab.faults.catalogue import find
from ffabric.lab.faults.stage import Stage
from ffabric.lab.invariants.invariants import NAMES, OPTEE
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.optee import BlockingDriver, Message
from ffabric.testing import Invariants


class Clients:
    """Two drivers of an OP-TEE that is an SP, judged from the beginning."""

    def __init__(self, system):
        self.system = system
        self.alice, self.bob = (self.driver(name) for name in ("alice", "bob"))

    def driver(self, name):
        driver = BlockingDriver(self.system.vm(name).ffa)
        driver.probe()
        return driver


@pytest.fixture
def two():
    core = OpTee(tee.Sums, vms=2)
    with boot(sps=[core], vms=["alice", "bob"], start=False) as system:
        Invariants(system, OPTEE)
        system.run()
        yield Clients(system)


@pytest.mark.parametrize(
    ("fault", "noticed"),
    [
        ("optee_address", "gives OP-TEE the page .* which alice and bob reaches"),
        ("optee_bank", "bob has used session 0x1 in OP-TEE, which it does not have"),
        ("optee_thread", "OP-TEE is entered for alice, and bob has called"),
    ],
)
def test_below_el3_what_breaks_it_is_noticed_and_nothing_else(fault, noticed):
    switch = find(fault)
    with Stage() as stage:
        switch.scenario(stage)
    with switch.on(), Stage() as stage, pytest.raises(Discrepancy, match=noticed):
        switch.scenario(stage)


def test_as_an_sp_a_session_is_its_vms_own(two):
    mine = two.alice.open_session(tee.Sums.uuid)
    with pytest.raises(TeeError):
        two.bob.invoke(mine, tee.ADD, Value(Type.VALUE_INOUT, 1))
    two.alice.invoke(mine, tee.ADD, Value(Type.VALUE_INOUT, 1))
    two.alice.close_session(mine)
    two.bob.invoke(two.bob.open_session(tee.Sums.uuid), tee.ADD, Value(Type.VALUE_INOUT, 1))


def test_as_an_sp_the_session_of_another_is_noticed(two):
    with find("optee_bank").on():
        mine = two.alice.open_session(tee.Sums.uuid)
        with pytest.raises(Discrepancy, match="bob has used session"):
            two.bob.invoke(mine, tee.ADD, Value(Type.VALUE_INOUT, 1))


def test_as_an_sp_the_thread_of_another_is_noticed(two):
    session = two.alice.open_session(tee.Sums.uuid)
    pending = two.alice.begin(Message(Command.INVOKE_COMMAND, tee.REST, session))
    resume = (abi.YIELDING_CALL_RESUME, 0, 0, 0, pending.thread)
    ask = two.system.vm("bob").ffa.direct_request
    assert ask("optee", *resume, bits=32).payload[0] & MASK32
    with find("optee_bank").on(), pytest.raises(Discrepancy, match="bob resumes thread"):
        ask("optee", *resume, bits=32)


def test_as_an_sp_the_memory_of_another_is_noticed(two):
    mine, session = two.alice.allocate(8), two.bob.open_session(tee.Sums.uuid)
    param = Fmem(Type.FMEM_INOUT, 0, 0, 8, mine.cookie)
    with pytest.raises(TeeError):
        two.bob.invoke(session, tee.REST, param)
    own = two.bob.allocate(8)
    two.bob.invoke(session, tee.REST, own.inout())


def test_below_el3_a_reference_that_another_has_registered_is_nothing():
    with Stage() as stage:
        _, bob = tee.boot(stage)
        session = bob.open()
        bob.ask(Command.INVOKE_COMMAND, Rmem(Type.FMEM_INOUT, 0, 8, 77), session=session)
        assert bob.answer.ret


@pytest.mark.parametrize("command", [Command.DO_BOTTOM_HALF, Command.STOP_ASYNC_NOTIF])
def test_below_el3_nobody_uses_memory_that_a_call_without_parameters_names(command):
    with Stage() as stage:
        _, bob = tee.boot(stage)
        assert bob.ask(command, Rmem(Type.FMEM_INOUT, 0, 8, 77)) == smc.Return.OK
        assert not bob.answer.ret


def test_it_is_judged_if_it_is_named():
    assert OPTEE not in NAMES
    with boot(sps=[], vms=["vm"]) as system:
        assert repr(Invariants(system, "optee")) == "<Invariants: optee>"
        with pytest.raises(ValueError, match="did you mean 'optee'"):
            Invariants(system, "optie")
