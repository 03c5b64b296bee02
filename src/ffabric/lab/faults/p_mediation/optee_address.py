"""A mediator gives OP-TEE memory that another VM has shared with the caller."""

from __future__ import annotations

from ffabric.abi.optee.message import Command, Tmem, Type
from ffabric.firmware.hypervisor.optee import rules
from ffabric.firmware.hypervisor.optee.shadow import Guest
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import PAGE, RW, SHARE, Stage
from ffabric.lab.faults.tee import boot


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    alice, bob = boot(stage)
    page = alice.side.page()
    handle = alice.side.send(SHARE, [bob.side], [(page, 1)], RW)
    (borrowed, _), *_ = bob.side.retrieve(handle, alice.side, RW).constituents
    assert bob.ask(Command.REGISTER_SHM, Tmem(Type.TMEM_OUTPUT, borrowed, PAGE, 1)) == int(
        rules.ADDRESS.status
    )


FAULT = Fault(
    __name__,
    "OP-TEE 4.10, virtualization: the rule optee.address, not known to be broken in the field",
    scenario,
    Edit(
        Guest.find,
        "if not usable or ownership.state(leaf) is not ownership.OWNED:",
        "if not usable:",
    ),
)
