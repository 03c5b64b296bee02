"""Eight PEs, two VMs, four secure partitions, and what must be true when they have played."""

from __future__ import annotations

from ffabric.guests import images
from ffabric.lab.demo.partitions import Alice, Bob, DemoFailed, Notary, Vault, expect
from ffabric.system.boot import boot
from ffabric.system.describe import describe, sp, vm
from ffabric.system.spec import SystemSpec
from ffabric.system.system import System

PES = 8
BOB_LIVES = 4_000
"""Nanoseconds between Bob's request and his end: the notary is then busy with it."""


def spec() -> SystemSpec:
    """The demo's system. Needs the extra ``aarch64`` for its two images."""
    return describe(
        name="demo",
        pes=PES,
        sps=[
            sp(Vault()),
            sp(Notary()),
            sp(
                image=images.load("adder_smc"),
                name="adder",
                uuid="6f1c2f8e-9d0b-4f0a-8a3e-0f5d2b7c1a03",
                boot_order=2,
            ),
            sp(
                image=images.load("adder_svc"),
                name="adder-el0",
                uuid="6f1c2f8e-9d0b-4f0a-8a3e-0f5d2b7c1a04",
                boot_order=3,
                exception_level=1,
            ),
        ],
        vms=[vm(Alice()), vm(Bob())],
    )


class Demo:
    """The demo on a booted system: destroys Bob in the middle of his call, judges the end."""

    def __init__(self, seed: int | None = None, replay: list[int] | None = None) -> None:
        self.system: System = boot(spec(), seed=seed, replay=replay)
        self.said: list[tuple[str, str]] = []
        self.system.listeners.append(self._listen)

    def _listen(self, name: str, line: str) -> None:
        self.said.append((name, line))
        if (name, line) == ("bob", "asking the notary"):
            clock = self.system.machine.clock
            clock.at(clock.now + BOB_LIVES, lambda: self.system.destroy_vm("bob"))

    def judge(self) -> None:
        """Raise DemoFailed unless everything came out as it must."""
        hypervisor = self.system.firmware.hypervisor
        assert hypervisor is not None
        expect("Alice's last words", ("alice", "done") in self.said, wanted=True)
        read = ("notary", "read of VM 1: please witness this")
        if read not in self.said:
            raise DemoFailed(f"the notary did not read Alice's message: {self.said}")
        expect("VMs alive", [each.name for each in hypervisor.partitions.values()], ["alice"])
        left = [region.kind.name for region in hypervisor.regions.live.values()]
        expect("transactions the hypervisor knows", left, ["donate"])
        expect("transactions at the SPMC", len(self.system.firmware.spmc.regions.live), 0)
        expect("pages still away", len(hypervisor.zombies), 0)
        refusals = self.system.refusals
        expect("refusals", refusals.get("mem.share.unaligned_base"), 1)
