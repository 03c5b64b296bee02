"""A retrieve request is read again after it was judged: what was refused comes true."""

from __future__ import annotations

from ffabric.abi.ffa import memory as abi
from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import RO, RW, SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()
    handle = world.a.send(SHARE, [world.b], [(page, 1)], RO)
    request = abi.Transaction(
        sender=world.a.id, handle=handle, receivers=[abi.Receiver(world.b.id, RW)]
    )
    world.b.change_tx(abi.build_transaction(request, world.b.version))
    got = world.b.retrieve(handle, world.a, RO)
    assert not world.b.reaches(got.constituents[0][0], write=True)


FAULT = Fault(
    __name__,
    "TF-A, commit 04b47dd94",
    scenario,
    Edit(
        retrieve.retrieve,
        "descriptor = _descriptor(region, permissions",
        "again = abi.parse_transaction(me.mailbox.tx.snapshot(total), me.version)\n"
        "permissions = again.receivers[0].permissions\n"
        "descriptor = _descriptor(region, permissions",
    ),
)
