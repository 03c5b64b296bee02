"""Images that reach where stage 2 maps nothing: their EL2 takes it, and they do, or they end."""

from pathlib import Path

import pytest

from ffabric.firmware.state.context import State
from ffabric.machine.events import Abort
from ffabric.system.crash import PartitionCrashed
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import ExceptionLevel

IMAGE = (Path(__file__).parents[1] / "images" / "faults.bin").read_bytes()
OUTSIDE = 0x2_0000_0000
USER, WITHIN, SEEN = 0x100, 0x180, 0x1000
DATA_ABORT = 0x25
"""The exception class of one from the exception level that takes it (Arm ARM, D17.2.37)."""
STORE = 1 << 6


class Aborts:
    """A tracer that keeps the stage-2 faults it hears of."""

    def __init__(self):
        self.heard = []

    def record(self, event):
        if isinstance(event, Abort):
            self.heard.append((event.endpoint, event.fault, event.ipa, event.write))


class Run:
    """An image as ``x``, an SP or a VM, until nothing can run."""

    def __init__(self, ffabric, kind, **options):
        self.system = ffabric.boot(
            **{f"{kind}s": [MAKE[kind]("x", image=IMAGE, **options)]}, start=False
        )
        self.aborts = Aborts()
        self.system.system.attach(self.aborts)
        self.endpoint = self.system.system.endpoint("x")

    def run(self):
        self.system.run()
        return self

    @property
    def state(self):
        return self.endpoint.partition.contexts[0].state

    def notes(self):
        """What the image has noted: (exception class, whether it was a store, FAR)."""
        read = self.endpoint.memory.read64
        at = self.start + SEEN
        return [
            (read(note) >> 26, bool(read(note) & STORE), read(note + 8))
            for note in (at + 8 + 24 * n for n in range(read(at)))
        ]

    @property
    def start(self):
        """Where the image begins."""
        return self.endpoint.spec.entry


MAKE = {"sp": sp, "vm": vm}


@pytest.mark.parametrize("kind", MAKE)
def test_an_image_at_el1_takes_its_aborts_and_goes_on(ffabric, kind):
    run = Run(ffabric, kind).run()
    assert run.state is State.WAITING
    assert run.notes() == [
        (DATA_ABORT, True, OUTSIDE + 8),
        (DATA_ABORT, False, OUTSIDE + 16),
    ]
    assert run.aborts.heard == [
        ("x", "data", OUTSIDE + 8, True),
        ("x", "data", OUTSIDE + 16, False),
    ]


def at_el0(ffabric, offset):
    level = ExceptionLevel.S_EL0
    return Run(ffabric, "sp", exception_level=level, entrypoint_offset=offset, image_offset=0)


def test_an_image_at_el0_ends_with_its_first_abort(ffabric):
    run = at_el0(ffabric, USER)
    with pytest.raises(PartitionCrashed, match=f"data abort at {OUTSIDE + 8:#x}"):
        run.run()
    assert run.state is State.ABORTED
    assert run.aborts.heard == [("x", "data", OUTSIDE + 8, True)]


def test_an_image_at_el0_that_stays_within_its_memory_waits(ffabric):
    run = at_el0(ffabric, WITHIN).run()
    assert run.state is State.WAITING
    assert not run.aborts.heard
    base = run.start - WITHIN
    assert run.endpoint.memory.read64(base + SEEN) == 1
