import io

import pytest

from ffabric.lab.demo.scene import Demo
from ffabric.observe.trace import Trace


def played(seed, replay=None):
    demo = Demo(seed, replay)
    sink = io.BytesIO()
    trace = Trace(demo.system, sink)
    demo.system.attach(trace)
    try:
        demo.system.run()
        demo.judge()
        trace.close()
        return sink.getvalue(), list(demo.system.machine.choices.log)
    finally:
        demo.system.close()


@pytest.mark.parametrize("seed", [None, *range(12)])
def test_every_seed_comes_out_as_it_must_and_replays_byte_for_byte(seed):
    trace, choices = played(seed)

    assert played(seed, choices) == (trace, choices)


def test_seeds_differ():
    assert len({played(seed)[0] for seed in range(6)}) == 6


def test_bob_dies_while_the_notary_works_for_him():
    trace, _ = played(1)

    assert b'"kind":"vm_destroyed"' in trace.replace(b" ", b"")
