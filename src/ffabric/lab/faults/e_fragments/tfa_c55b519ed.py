"""The offset in FFA_MEM_FRAG_RX is not judged."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.words import PAGE, halves
from ffabric.firmware.manager.memory import fragments
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import INVALID, RW, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world("sp-sp")
    pages = world.a.page(640)
    ranges = [(pages + 2 * n * PAGE, 1) for n in range(320)]
    handle = world.a.ffa.share(world.b.id, ranges=ranges)
    request = abi.Transaction(
        sender=world.a.id, handle=handle, receivers=[abi.Receiver(world.b.id, RW)]
    )
    data = abi.build_transaction(request, world.b.version)
    world.b.put(data)
    x = world.b.call(fid.FFA_MEM_RETRIEVE_REQ_64, len(data), len(data))
    world.b.ffa.rx_release()
    assert world.b.refused(fid.FFA_MEM_FRAG_RX, *halves(handle), x[1] + 16) is INVALID


FAULT = Fault(
    __name__,
    "TF-A, commit c55b519ed",
    scenario,
    Edit(fragments.frag_rx, "if offset != response.sent:", "if False:"),
)
