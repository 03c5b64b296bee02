"""A run of images is the same, byte by byte, whichever inner loop executes them."""

import importlib.util
import io

import pytest

from ffabric.lab.bench import rigs
from ffabric.machine.engines import compiled
from ffabric.machine.engines.unicorn import inner_loop
from ffabric.observe.trace import Trace

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(f"{inner_loop.__name__}._loop") is None,
    reason="no compiled inner loop: python hatch_build.py",
)
ROUNDS = 2_000
"""Of calls: enough that time slices end in between."""


def traced(setup, *, interpreted=False):
    """The trace of a system that makes so many rounds."""
    rig = setup()
    sink = io.BytesIO()
    trace = Trace(rig.system, sink)
    rig.system.attach(trace)
    for number, context in enumerate(images(rig.system)):
        context.runner.interpreted = interpreted and number == 0
    rig.run(ROUNDS)
    trace.close()
    rig.close()
    return sink.getvalue()


def images(system):
    contexts = [
        each for endpoint in system.endpoints.values() for each in endpoint.partition.contexts
    ]
    return [each for each in contexts if hasattr(each.runner, "interpreted")]


SYSTEMS = {
    "null calls": rigs.aarch64_null_calls,
    "an SP asks an SP": lambda: rigs.aarch64_requests("sp"),
    "a VM asks an SP": lambda: rigs.aarch64_requests("vm"),
}


@pytest.mark.parametrize("setup", SYSTEMS.values(), ids=SYSTEMS)
def test_traces_of_both_loops_are_the_same(monkeypatch, setup):
    monkeypatch.setenv(compiled.VARIABLE, "python")
    expected = traced(setup)
    assert expected.count(b"\n") > ROUNDS
    monkeypatch.setenv(compiled.VARIABLE, "c")
    assert traced(setup) == expected
    assert traced(setup, interpreted=True) == expected
