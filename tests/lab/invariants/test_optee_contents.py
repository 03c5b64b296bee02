"""What TAs in Python keep for a VM is no other VM's: a TA that shares it is noticed."""

from typing import ClassVar

import pytest

from ffabric import boot
from ffabric.abi.optee.message import Command, Type, Value
from ffabric.lab.faults import tee
from ffabric.lab.faults.stage import Stage
from ffabric.lab.invariants.invariants import OPTEE
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.optee import BlockingDriver, OpTee, TrustedApp
from ffabric.system.description.python import trusted_os
from ffabric.testing import Invariants

OF_THE_MODULE = []


class Keeps(TrustedApp):
    """A TA that keeps what it is given: in its session, and in its instance."""

    uuid = tee.Sums.uuid
    single_instance = True
    multi_session = True
    commands: ClassVar = ["keep"]

    async def open_session(self, session, params):
        session.context = {"given": []}
        self.sessions = [*getattr(self, "sessions", []), session]

    async def invoke(self, session, command, params):
        session.context["given"].append(params.value(0).a)


class KeepsInTheModule(Keeps):
    async def open_session(self, session, params):
        session.context = {"given": OF_THE_MODULE}


class KeepsInItsClass(Keeps):
    async def invoke(self, session, command, params):
        self.commands.append(params.value(0).a)


def of_an_sp(ta):
    with boot(sps=[OpTee(ta, vms=2)], vms=["alice", "bob"], start=False) as system:
        Invariants(system, OPTEE)
        system.run()
        for name in ("alice", "bob"):
            driver = BlockingDriver(system.vm(name).ffa)
            driver.probe()
            driver.invoke(driver.open_session(ta.uuid), 0, Value(Type.VALUE_INOUT, 7))


def below_el3(ta):
    with Stage() as stage:
        core = OpTee.below_el3(ta, vms=2)
        system = stage.boot(vms=["alice", "bob"], trusted_os=trusted_os(core))
        Invariants(system, OPTEE)
        for name in ("alice", "bob"):
            client = tee.Client(stage.side(system, name))
            value = Value(Type.VALUE_INOUT, 7)
            client.ask(Command.INVOKE_COMMAND, value, session=client.open())


@pytest.fixture(params=[of_an_sp, below_el3])
def serve(request):
    yield request.param
    OF_THE_MODULE.clear()
    del Keeps.commands[1:]


def test_each_vm_has_instances_and_sessions_of_its_own(serve):
    serve(Keeps)


def test_what_two_sessions_hang_on_one_variable_is_noticed(serve):
    with pytest.raises(Discrepancy, match="keeps the same list for alice and bob"):
        serve(KeepsInTheModule)


def test_what_a_ta_writes_into_its_class_is_noticed(serve):
    with pytest.raises(Discrepancy, match=r"has changed KeepsInItsClass\.commands"):
        serve(KeepsInItsClass)
