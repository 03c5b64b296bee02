import pytest


@pytest.fixture
def primary(ffabric):
    """Boot VMs under a primary one that is driven: its first vCPU."""

    def boot(*vms, **options):
        session = ffabric.boot(vms=["p", *vms], primary_vm="p", **options)
        calls = session.vm("p").ffa
        calls.session = session
        return calls

    return boot
