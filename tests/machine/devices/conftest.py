"""What devices are wired to: a clock, and lists of what they do to the outside."""

import pytest

from ffabric.machine.clock import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def levels():
    """The levels of the interrupt line."""
    return []


@pytest.fixture
def resets():
    """The times of resets."""
    return []
