"""What was in RX before stays behind a message that is shorter."""

from __future__ import annotations

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import PAGE
from ffabric.firmware.manager.setup import mailbox
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import SHARE, Stage


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()
    world.b.ffa.partition_info()
    handle = world.a.send(SHARE, [world.b], [(page, 1)])
    world.b.retrieve(handle, world.a)
    world.b.call(fid.FFA_PARTITION_INFO_GET, *[0] * 4, 0)
    x = world.b.x
    length = x[2] * x[3]
    world.b.ffa.rx_release()
    assert not any(world.b.got(PAGE)[length:])


FAULT = Fault(
    __name__,
    "Hafnium, commit d89f5d43",
    scenario,
    Edit(mailbox.deliver, "box.rx.fill(data)", "box.rx.write(data)"),
)
