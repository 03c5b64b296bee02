"""A reclaim gives the owner RWX, whatever it had before it sent the memory."""

from __future__ import annotations

from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import LEND, RO, Stage
from ffabric.machine.translation.descriptors import S2AP_W, XN


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    page = world.a.page()
    stage2 = world.a.handle.endpoint.partition.stage2
    stage2.update(page, 1, S2AP_W, XN)
    before = world.a.descriptor(page)
    handle = world.a.send(LEND, [world.b], [(page, 1)], RO)
    world.a.reclaim(handle)
    assert world.a.descriptor(page) == before


FAULT = Fault(
    __name__,
    "Hafnium mailing list, 20 October 2020 (FFA Memory Management Interfaces)",
    scenario,
    Edit(
        send.restore,
        "stage2.update_all(region.extents, ownership.MASK, VALID)",
        "stage2.update_all(region.extents, ownership.MASK | 3 << 53, VALID | S2AP_R | S2AP_W)",
    ),
)
