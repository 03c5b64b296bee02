"""A mediator lets a VM go on with the call of another."""

from __future__ import annotations

from ffabric.abi.optee import smc
from ffabric.abi.optee.message import Command
from ffabric.firmware.hypervisor.optee.mediator import Mediator
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage
from ffabric.lab.faults.tee import REST, boot


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    alice, bob = boot(stage)
    session = alice.open()
    assert smc.is_rpc(alice.ask(Command.INVOKE_COMMAND, session=session, function=REST))
    thread = alice.side.x[3]
    assert bob.resume(thread) == smc.Return.ERESUME


FAULT = Fault(
    __name__,
    "OP-TEE 4.10, virtualization: the rule optee.resume, not known to be broken in the field",
    scenario,
    Edit(
        Mediator._resume,
        "call = client.threads.get(thread)",
        "client = next(each for each in self.clients.values() if thread in each.threads)\n"
        "call = client.threads.get(thread)",
    ),
)
