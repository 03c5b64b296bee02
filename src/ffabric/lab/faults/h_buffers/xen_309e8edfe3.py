"""The pages of an RX/TX pair remain the partition manager's when it is unmapped."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import PAGE
from ffabric.firmware.manager.setup import mailbox
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    tx = world.a.ffa.tx
    world.a.call(fid.FFA_RXTX_UNMAP)
    box = world.a.page(2)
    world.a.call(fid.FFA_RXTX_MAP_64, box, box + PAGE, 1)
    world.a.ffa.buffers.tx, world.a.ffa.buffers.rx = box, box + PAGE
    world.a.send(SHARE, [world.b], [(tx, 1)])


FAULT = Fault(
    __name__,
    "Xen, commit 309e8edfe3",
    scenario,
    Edit(mailbox.drop, "_set_ownership(partition, partition.mailbox, ownership.OWNED)", "pass"),
)
