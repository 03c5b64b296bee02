"""All tests of the Unicorn engine run twice: over the inner loop in Python and over that in C."""

import importlib.util

import pytest

from ffabric.machine.engines import compiled
from ffabric.machine.engines.unicorn import inner_loop

COMPILED = importlib.util.find_spec(f"{inner_loop.__name__}._loop") is not None
LACKING = pytest.mark.skipif(not COMPILED, reason="no compiled inner loop: python hatch_build.py")


@pytest.fixture(autouse=True, params=["python", pytest.param("c", marks=LACKING)])
def loop(request, monkeypatch):
    monkeypatch.setenv(compiled.VARIABLE, request.param)
    return request.param
