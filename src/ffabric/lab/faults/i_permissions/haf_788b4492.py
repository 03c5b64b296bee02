"""An SP shares its memory with the normal world."""

from __future__ import annotations

from ffabric.firmware.manager.memory import send
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import DENIED, SHARE, Stage, refused_with


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=["keeper"], vms=["a"])
    keeper, a = stage.side(system, "keeper"), stage.side(system, "a")
    page = keeper.page()
    refused_with(DENIED, lambda: keeper.send(SHARE, [a], [(page, 1)]))


FAULT = Fault(
    __name__,
    "Hafnium, commit 788b4492",
    scenario,
    Edit(
        send._judge_receiver,
        "if sent.sender & SECURE_BIT and not endpoint & SECURE_BIT:",
        "if False:",
    ),
)
