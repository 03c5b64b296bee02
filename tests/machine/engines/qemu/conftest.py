"""Tests that ask for a `form` run over both of the exchange with CPUs: in Python and in C."""

import importlib.util

import pytest

from ffabric.machine.engines import compiled
from ffabric.machine.engines.qemu.exchange import choice

LACKING = pytest.mark.skipif(
    importlib.util.find_spec(choice.MODULE) is None,
    reason="no compiled exchange: python hatch_build.py",
)


@pytest.fixture(params=["python", pytest.param("c", marks=LACKING)])
def form(request, monkeypatch):
    monkeypatch.setenv(compiled.VARIABLE, request.param)
    return request.param
