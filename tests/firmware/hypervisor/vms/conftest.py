import pytest
from vm_sides import World


@pytest.fixture
def primary(ffabric):
    """Boot VMs under a primary one that is driven: its first vCPU."""

    def boot(*vms, **options):
        session = ffabric.boot(vms=["p", *vms], primary_vm="p", **options)
        calls = session.vm("p").ffa
        calls.session = session
        return calls

    return boot


@pytest.fixture
def world(ffabric):
    """A system whose VM ``v`` comes and goes."""
    return World(ffabric)
