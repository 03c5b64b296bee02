"""Instruction access that the sender leaves unspecified gives the receiver execute permission."""

from __future__ import annotations

from ffabric.firmware.manager.memory import retrieve
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import SHARE, Stage, X
from ffabric.machine.translation.descriptors import XN


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    world = stage.world()
    page = world.a.page()
    handle = world.a.send(SHARE, [world.b], [(page, 1)])
    got = world.b.retrieve(handle, world.a)
    assert got.receivers[0].permissions & X == 0
    assert world.b.descriptor(got.constituents[0][0]) & XN


FAULT = Fault(
    __name__,
    "Hafnium mailing list, 20 October 2020 (FFA Memory Management Interfaces)",
    scenario,
    Edit(
        retrieve._permissions,
        "if instruction:\n"
        "            pm.conventions.refuse(INSTRUCTION_GIVEN, got=instruction, expected=0)\n"
        "        instruction = mem.PERM_INSTRUCTION_NX",
        "instruction = mem.PERM_INSTRUCTION_X",
    ),
)
