"""What holds for all tests: how much hypothesis tries, how wide commands print, what signals do.

Hypothesis tries a little each time, much more with ``--hypothesis-profile long``. Commands print as
wide as in a pipe, whatever terminal the tests run in. Signals are heard, though a shell may have
started the tests in the background or nohup may have, which ignore some. A test of a file's bytes
is named by a number and not by the bytes: workers that run side by side must find the same names,
and some formats have the time of day in them.
"""

import signal

import pytest
from hypothesis import HealthCheck, Phase, settings

from ffabric.cli.terminal import PIPE_WIDTH
from ffabric.machine.host.interruption import SIGNALS

QUICKLY = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
UNHEALTHY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
"""That inputs take long to make says how busy the host is; fixtures here last for all inputs."""

settings.register_profile(
    "short",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25,
    stateful_step_count=40,
    phases=QUICKLY,
    suppress_health_check=UNHEALTHY,
)
settings.register_profile(
    "long",
    deadline=None,
    max_examples=1000,
    stateful_step_count=80,
    phases=QUICKLY,
    suppress_health_check=UNHEALTHY,
)
settings.load_profile("short")

SPOKEN = 24
"""Bytes that may be in the name of a test."""


def pytest_make_parametrize_id(val, argname):
    return argname if isinstance(val, bytes) and len(val) > SPOKEN else None


@pytest.fixture(autouse=True)
def width(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(PIPE_WIDTH))


@pytest.fixture(autouse=True)
def signals():
    ignored = [each for each in SIGNALS if signal.getsignal(each) is signal.SIG_IGN]
    for each in ignored:
        usual = signal.default_int_handler if each is signal.SIGINT else signal.SIG_DFL
        signal.signal(each, usual)
    yield
    for each in ignored:
        signal.signal(each, signal.SIG_IGN)
