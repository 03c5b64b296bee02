"""How many Python functions are called for one round of what users wait for.

Seconds depend on the host and its load, calls do not: what makes a round dearer shows here. They
are counted in a process of its own, in which no test has put anything around a function.
"""

import json
import subprocess
import sys

import pytest

MOST = {
    "null.vm": 14,
    "direct.sp-sp": 28,
    "direct.vm-sp": 43,
    "notification.vm-sp": 237,
    "notification.sp-vm": 267,
    "memory.1.ready.vm-sp": 175,
    "memory.1.vm-sp": 216,
}
"""Name of a benchmark -> calls of Python functions that one of its rounds may make."""

COUNTING = """
import json, sys
from ffabric.lab.bench.catalogue import BENCHMARKS

ROUNDS = 256
found = {}

def hear(frame, event, argument):
    found[name] += event == "call"

for name in sys.argv[1:]:
    found[name] = 0
    (benchmark,) = (each for each in BENCHMARKS if each.name == name)
    rig = benchmark.setup()
    rig.run(ROUNDS)  # what is made by the first calls
    sys.setprofile(hear)
    rig.run(ROUNDS)
    sys.setprofile(None)
print(json.dumps({name: count / ROUNDS for name, count in found.items()}))
"""


@pytest.fixture(scope="module")
def counts():
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, *MOST], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", MOST)
def test_a_round_makes_no_more_calls_than_it_may(counts, name):
    assert 0 < counts[name] <= MOST[name]
