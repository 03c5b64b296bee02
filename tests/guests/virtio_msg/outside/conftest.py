"""What tests of peers on the socket bus share."""

import pytest


@pytest.fixture
def path(tmp_path):
    """Where the socket is to be."""
    return str(tmp_path / "bus")
