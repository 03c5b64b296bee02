"""What holds for all tests: how much hypothesis tries, and how wide commands print.

Hypothesis tries a little each time, much more with ``--hypothesis-profile long``. Commands print as
wide as in a pipe, whatever terminal the tests run in.
"""

import pytest
from hypothesis import Phase, settings

from ffabric.cli.terminal import PIPE_WIDTH

QUICKLY = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]

settings.register_profile(
    "short",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25,
    stateful_step_count=40,
    phases=QUICKLY,
)
settings.register_profile(
    "long", deadline=None, max_examples=1000, stateful_step_count=80, phases=QUICKLY
)
settings.load_profile("short")


@pytest.fixture(autouse=True)
def width(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(PIPE_WIDTH))
