"""The end of a VM: what others have of its memory is nobody else's until they give it back."""

from __future__ import annotations

from ffabric.abi.words import PAGE
from ffabric.lab.faults.stage import LEND, NX, RW, SHARE
from ffabric.lab.properties.trial import Trial, right


def borrowed(trial: Trial) -> None:
    """A VM is destroyed while SPs have memory that it has sent."""
    random = trial.random
    world = trial.world("vm-sp")
    a, b, c = world.a, world.b, world.c
    held = []
    for _ in range(random.randrange(1, 4)):
        function = random.choice((SHARE, LEND))
        pages = random.randrange(1, 4)
        side = random.choice((b, c))
        handle = a.send(function, [side], [(a.page(pages), pages)])
        if trial.chance(0.8):
            rights = RW | (NX if function == LEND else 0)
            got = side.retrieve(handle, a, rights).constituents
            held += [(side, at, count) for at, count in got]
    for side in (b, c):
        side.wait()
    frames = world.system.system.firmware.hypervisor.frames
    world.system.destroy_vm("a")
    world.system.run()
    for side, at, count in held:
        right(side.reaches(at), f"{side} has lost what it has retrieved")
        for pa, free in frames.ranges:
            apart = at + count * PAGE <= pa or pa + free * PAGE <= at
            right(apart, f"memory that {side} has is given to the next VM")
