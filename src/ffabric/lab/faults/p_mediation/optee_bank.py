"""An OP-TEE serves all VMs from the bank of the first: sessions of one are another's."""

from __future__ import annotations

from ffabric.abi.optee.message import Command, Type, Value
from ffabric.guests.optee.nexus import Nexus
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.lab.faults.tee import boot


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    alice, bob = boot(stage)
    session = alice.open()
    bob.ask(Command.INVOKE_COMMAND, Value(Type.VALUE_INOUT, 1), session=session)
    assert bob.answer.ret


FAULT = Fault(
    __name__,
    "OP-TEE 4.10, virtualization: a bank for each VM, not known to be broken in the field",
    scenario,
    Edit(
        Nexus.bank_of,
        "self.banks.get(vm if self._capacity else EVERYBODY)",
        "next(iter(self.banks.values()), None)",
    ),
)
