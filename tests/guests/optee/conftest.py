"""An OP-TEE with a TA that does what tests need, and the driver of a VM, call by call."""

import pytest
from optee_sides import Lab, Lone, Shared

from ffabric.guests.optee.ffa.core import OpTee
from ffabric.session.optee import BlockingDriver


class Tee:
    """A booted system: `core` is OP-TEE, `driver` that of the VM "alice"."""

    def __init__(self, system, core):
        self.system = system
        self.core = core
        self.driver = self.driver_of("alice")

    def driver_of(self, name):
        driver = BlockingDriver(self.system.vm(name).ffa)
        driver.probe()
        return driver

    def words(self, *words, vm="alice", bits=32):
        """A direct request with w3 to w7: those of the response."""
        driver = self.system.vm(vm).ffa
        return driver.direct_request("optee", *words, bits=bits).payload[:5]


@pytest.fixture
def boot_tee(ffabric):
    """Boot an OP-TEE with `vms` that it serves apart, and VMs of these names; rules to `waive`."""

    def boot(*names, waive=(), **given):
        core = OpTee(Lab, Lone, Shared, **given)
        return Tee(ffabric.boot(sps=[core], vms=list(names or ("alice",)), waive=waive), core)

    return boot


@pytest.fixture
def tee(boot_tee):
    """An OP-TEE that is not virtualized, and "alice"."""
    return boot_tee()
