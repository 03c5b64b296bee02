"""An offset of the guest's wraps, and the way back reads the guest's memory again.

The offset of the composite descriptor is added to in 32 bits, so that it lies inside what was
sent. When
the SPMC refuses, the proxy gives those pages back to the guest that its TX names then, not those
that it
has taken from it: pages that the guest has given to others are its own again.
"""

from __future__ import annotations

from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor.spmc_link import memory as link_memory
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, LEND, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()

    def far_away(data: bytearray) -> None:
        data[48 + 4 : 48 + 8] = (0xFFFF_FFF0).to_bytes(4, "little")

    given, *_, wanted = range(world.a.page(1024), world.a.page(), PAGE)
    world.a.send(LEND, [world.b], [(given, 1)])
    pool = world.system.system.firmware.spmc.pool
    while pool.in_use < pool.pages:
        pool.alloc()
    world.a.change_tx(world.a.transaction(LEND, [world.b], [(given, 1)]))
    refused_with(Status.NO_MEMORY, lambda: world.a.send(LEND, [world.b], [(wanted, 1)]))
    assert world.a.reaches(wanted)
    assert not world.a.reaches(given)
    refused_with(INVALID, lambda: world.a.send(SHARE, [world.b], [(wanted, 1)], patch=far_away))


FAULT = Fault(
    __name__,
    "CVE-2025-40266 (Linux, pKVM's FF-A proxy)",
    scenario,
    Edit(
        abi.parse_transaction,
        "ranges = composite + _COMPOSITE_SIZE",
        "ranges = composite + _COMPOSITE_SIZE & 0xFFFFFFFF",
    ),
    Edit(
        link_memory._finish_sending,
        "send.restore(hypervisor, region)",
        "tx = caller.partition.mailbox.tx.snapshot(region.length)\n"
        "region.extents = abi.parse_transaction(tx, caller.partition.version).constituents\n"
        "send.restore(hypervisor, region)",
    ),
)
