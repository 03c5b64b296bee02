"""The demo's system, what happens in it scene by scene, and what must be true afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from ffabric.firmware.state.events import Refuse
from ffabric.guests import images
from ffabric.lab.demo.sps import ABACUS, ADDER, Notary, Vault
from ffabric.lab.demo.stage import EVENTS, Stage
from ffabric.lab.demo.vms import ROUNDS, SUMS, Actor, Alice, Bob, Carol, expect
from ffabric.machine.machine import EXIT_COST
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.spec import MemoryBank, SystemSpec

PES = 8
REFUSED = (
    "mem.retrieve.instruction_access_missing",
    "mem.retrieve.execute_non_secure",
    "mem.share.not_owned",
    "mem.reclaim.retrieved",
    "mem.share.unaligned_base",
)
"""The rules that the scene of refusals breaks, each once."""


def system() -> SystemSpec:
    """Eight PEs, two VMs, four SPs. Needs the extra ``aarch64`` for two of them."""
    adder = sp(name="adder", image=images.load("adder_smc"), uuid=ADDER, boot_order=2)
    abacus = sp(
        name="abacus",
        image=images.load("adder_svc"),
        uuid=ABACUS,
        boot_order=3,
        exception_level=1,  # S-EL0
    )
    return describe(
        name="demo",
        pes=PES,
        memory=(
            MemoryBank("secure", 0x0600_0000, 32 << 20, secure=True),
            MemoryBank("normal", 0x8000_0000, 44 << 20, secure=False),  # for two VMs, not three
        ),
        sps=[Vault(), Notary(), adder, abacus],
        vms=[Alice(), Bob()],
    )


class Demo(Stage):
    """The demo on a booted system. Every scene begins and ends when all partitions wait.

    Within a scene both VMs act at the same time, on their PEs; the seed decides who comes first.
    """

    describe = staticmethod(system)

    def _act(self, judge: Callable[[Demo], Iterator[str]]) -> Iterator[str]:
        """All actors play the present scene, then it is judged."""
        for actor in self._actors():
            actor.scene = self.scene
            if self.scene != "boot":
                self.system.wake_vm(actor.name)
        if (direction := _DIRECTIONS.get(self.scene)) is not None:
            direction(self)
        self.run()
        yield from judge(self)
        for actor in self._actors():
            yield from actor.notes
            actor.notes = []

    def _actors(self) -> list[Actor]:
        software = (each.software for each in self.system.endpoints.values())
        return [each for each in software if isinstance(each, Actor)]

    # What happens besides what the partitions do.

    def kill_bob(self) -> None:
        """Bob dies when the notary has made some of his sums; how many is a choice."""
        notary, clock = self.software("notary"), self.machine.clock
        sums = 1 + self.machine.choices.pick(SUMS - 2, "bob's end")
        notary.sums = 0

        def look(times: int = EVENTS) -> None:
            if notary.sums >= sums:
                self.sums = notary.sums
                self.system.destroy_vm("bob")
            elif times:
                clock.at(clock.now + EXIT_COST, lambda: look(times - 1))

        self.bob = self.system.endpoint("bob")
        self.pages = self.system.hypervisor.frames.free_pages
        look()

    def create_carol(self) -> None:
        """A VM comes into being, and plays in the scene at once."""
        carol = Carol()
        carol.scene = self.scene
        self.system.create_vm(vm(carol))

    # What must be true when a scene is over.

    def judge_boot(self) -> Iterator[str]:
        """Everybody has found a place."""
        for each in self.system.endpoints.values():
            spec = each.spec
            place = spec.memory[0]
            where = f"{place.ipa:#x}" + ("" if place.ipa == place.pa else f" -> PA {place.pa:#x}")
            level = f"{'S-' if spec.secure else 'NS-'}EL{spec.el}"
            size = "UP" if spec.vcpus == 1 else f"MP {spec.vcpus}"
            yield f"{each.id:#06x} {each.name:<7} {level:<6} {spec.engine:<8} {size:<5} {where}"

    def judge_discovery(self) -> Iterator[str]:
        """Both found the same."""
        alice, bob = self.software("alice"), self.software("bob")
        expect("what bob finds", bob.known, alice.known)
        yield from ()

    def judge_messages(self) -> Iterator[str]:
        """The notary has its letter."""
        letters = self.software("notary").letters
        expect("letters", letters, [(self.system.resolve("bob"), b"dear notary")])
        yield f"the notary has a letter of VM {letters[0][0]}: {letters[0][1].decode()!r}"

    def judge_crowd(self) -> Iterator[str]:
        """Every vCPU had its answers."""
        products = self.software("alice").products
        expect("answers", products, dict.fromkeys(range(PES), ROUNDS))
        busy = sum(
            isinstance(line, Refuse) and line.rule == "direct.req.receiver_busy"
            for line in self.lines
        )
        yield f"{PES * ROUNDS} products from the vault, each by the vCPU of the PE that asked"
        yield f"{PES * ROUNDS} sums from the adder, which was BUSY {busy} times, and asked again"

    def judge_memory(self) -> Iterator[str]:
        """Nothing is under way."""
        expect("transactions left", self._regions(), [])
        yield from ()

    def judge_refusals(self) -> Iterator[str]:
        """Each by its rule."""
        counts = self.system.refusals
        for rule in REFUSED:
            expect(f"refused by {rule}", counts.get(rule), 1)
        yield from ()

    def judge_death(self) -> Iterator[str]:
        """Nothing of Bob is left."""
        expect("bob", "bob" in self.system.endpoints, expected=False)
        expect("transactions left", self._regions(), [])
        notary = self.software("notary")
        expect("sums", notary.sums, SUMS)
        expect("VMs that the notary knows", notary.vms, ["+1", "+2", "-2"])
        freed = self.system.hypervisor.frames.free_pages - self.pages
        had = sum(each.size for each in self.bob.spec.memory) // 4096
        expect("pages freed", freed, had)
        yield f"bob died when the notary had made {self.sums} of {SUMS} sums for him"
        yield "the notary finished them all the same; nobody got the answer"
        yield f"the vault gave back what bob had lent: {freed} of {had} pages are free and clean"

    def judge_heir(self) -> Iterator[str]:
        """Carol has another id."""
        carol = self.system.endpoint("carol")
        expect("her id", carol.id, 3)
        expect("VMs that the notary knows", self.software("notary").vms[3:], ["+3"])
        bobs = {each.pa for each in self.bob.spec.memory}
        hers = [each.pa for each in carol.spec.memory]
        inherited = len(bobs.intersection(hers))
        expect("whether she has memory of bob's", inherited > 0, expected=True)
        yield f"carol is VM 3; {inherited} of the {len(hers)} blocks of her memory were bob's"

    def _regions(self) -> list[int]:
        """Handles of the memory transactions that the SPMC has not seen the end of."""
        return list(self.system.firmware.spmc.regions.live)


_JUDGES: dict[str, tuple[str, Callable[[Demo], Iterator[str]]]] = {
    "boot": ("Eight PEs start; SPs first, in their order, then the hypervisor", Demo.judge_boot),
    "discovery": ("alice and bob find out who is there", Demo.judge_discovery),
    "messages": ("Direct messages, through a chain too, and letters", Demo.judge_messages),
    "crowd": ("Eight vCPUs of alice, and bob, ask all at once", Demo.judge_crowd),
    "memory": ("alice shares, lends and donates memory to the vault", Demo.judge_memory),
    "refusals": ("Five calls that cannot be, and why", Demo.judge_refusals),
    "death": ("bob is destroyed in the middle of his call", Demo.judge_death),
    "heir": ("carol is created where bob was", Demo.judge_heir),
}
"""Name of a scene -> its title, and what judges it."""

_DIRECTIONS: dict[str, Callable[[Demo], None]] = {
    "death": Demo.kill_bob,
    "heir": Demo.create_carol,
}


Demo.scenes = {
    name: (title, partial(Demo._act, judge=judge)) for name, (title, judge) in _JUDGES.items()
}
