"""Systems in which memory can go from `a` to `b` and `c`."""

import pytest
from memory_sides import WORLDS, World


@pytest.fixture(params=list(WORLDS))
def world(request, ffabric):
    """Each kind of system in turn."""
    return World(ffabric, request.param)


@pytest.fixture
def sps(ffabric):
    """Three SPs."""
    return World(ffabric, "sp-sp")


@pytest.fixture
def vms(ffabric):
    """Three VMs."""
    return World(ffabric, "vm-vm")


@pytest.fixture
def vm_sp(ffabric):
    """A VM and two SPs."""
    return World(ffabric, "vm-sp")


@pytest.fixture
def kernel(ffabric):
    """A kernel without a hypervisor, and two SPs."""
    return World(ffabric, "kernel-sp")
