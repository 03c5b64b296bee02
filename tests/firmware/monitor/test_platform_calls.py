"""Calls of the platform that a system describes: who may make them, and what they answer."""

from typing import Any

import pytest

from ffabric.abi import psci
from ffabric.system.booting.platform import PlatformCallError
from ffabric.system.description.python_target import TargetError
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import MonitorSpec, PythonSource

SIP, OEM, UNKNOWN = 0x8200_0010, 0xC300_0001, 0x8200_0011
NOT_SUPPORTED = 0xFFFF_FFFF_FFFF_FFFF


def twice(x):
    return [2 * x[1], x[2]]


def nothing(x):
    """It changes its copy of the registers alone."""
    x[0] = 5


def monitor(*calls):
    return MonitorSpec(calls=calls)


BOTH = monitor((SIP, (7, 8)), (OEM, PythonSource(twice)))
SYSTEMS: dict[str, Any] = {
    "vm": {"sps": ["s"], "vms": ["v"]},
    "sp": {"sps": ["s"], "vms": ["v"]},
    "kernel": {"sps": ["s"], "vms": ["v"], "hypervisor": False},
}


@pytest.fixture(params=SYSTEMS)
def caller(request, ffabric):
    def make(described):
        system = ffabric.boot(**SYSTEMS[request.param], monitor=described)
        return (system.sp("s") if request.param == "sp" else system.vm("v")).ffa

    return make


def test_a_constant_or_a_function_answers(caller):
    ffa = caller(BOTH)
    assert ffa.call(SIP, 1, 2, 3)[:4] == (7, 8, 2, 3)
    assert ffa.call(OEM, 21, 9)[:3] == (42, 9, 9)
    assert ffa.call(UNKNOWN, 1)[0] == NOT_SUPPORTED


def test_what_nobody_has_described_is_not_supported(caller):
    ffa = caller(MonitorSpec())
    assert ffa.call(SIP, 1)[0] == NOT_SUPPORTED


def test_a_function_that_answers_nothing_changes_nothing(caller):
    ffa = caller(monitor((SIP, PythonSource(nothing))))
    assert ffa.call(SIP, 1, 2)[:3] == (SIP, 1, 2)


def test_negative_answers_are_registers(caller):
    ffa = caller(monitor((SIP, (-1,)), (OEM, PythonSource(lambda x: -3))))
    assert ffa.call(SIP)[0] == NOT_SUPPORTED
    assert ffa.call(OEM)[0] == NOT_SUPPORTED - 2


def fails(x):
    raise KeyError("board")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (fails, r"0x82000010 of EL3: KeyError: 'board'"),
        (lambda x: "seven", "answers 'seven': a number or up to 18 are registers"),
        (lambda x: [0] * 19, "up to 18 are registers"),
        (lambda x: 1 << 64, "a number or up to 18"),
    ],
)
def test_mistakes_of_a_function_are_told_as_such(ffabric, function, told):
    described = monitor((SIP, PythonSource(function)))
    client = ffabric.boot(vms=["v"], monitor=described).vm("v").ffa
    with pytest.raises(PlatformCallError, match=told):
        client.call(SIP)


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ((0x8400_0063, (0,)), "EL3 answers it"),
        ((psci.CPU_OFF, (0,)), "EL3 answers it"),
        ((0x8000_0000, (0,)), "EL3 answers it"),
        ((0x0200_0001, (0,)), "a yielding call"),
        ((1 << 32, (0,)), "a function ID has 32 bits"),
        ((SIP, ()), "0 registers: 1 to 18"),
    ],
)
def test_calls_that_are_none_of_the_platforms(ffabric, calls, message):
    with pytest.raises(SystemErrors, match=message):
        ffabric.boot(vms=["v"], monitor=monitor(calls))


def test_a_function_that_there_is_not(ffabric):
    with pytest.raises(TargetError, match="no such file"):
        ffabric.boot(vms=["v"], monitor=monitor((SIP, PythonSource("nowhere.py:f"))))
    with pytest.raises(TargetError, match="is not a function"):
        ffabric.boot(vms=["v"], monitor=monitor((SIP, PythonSource(5))))
