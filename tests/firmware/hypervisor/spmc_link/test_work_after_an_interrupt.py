"""What waits until an SP has run, or until a PE is in the normal world, when an interrupt was why.

A secure interrupt takes the PE from the normal world and gives it back, and no call returns then.
"""

import pytest

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory_words as mem
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt

SPI = 40
SECURE_EDGE = 0x100
LINE = DeviceRegion(
    name="line",
    base_address=0x1C09_0000,
    pages=1,
    attributes=3,
    interrupts=(Interrupt(SPI, SECURE_EDGE),),
)


class Rig:
    """VMs ``v`` and ``w``, and an SP that handles an interrupt now and then."""

    def __init__(self, ffabric):
        self.session = ffabric.boot(sps=[sp("h", device_regions=(LINE,))], vms=["v", "w"])
        self.system = self.session.system
        self.v, self.h = self.session.vm("v"), self.session.sp("h")
        self.h.ffa.call(hafnium.HF_INTERRUPT_ENABLE, SPI, 1, 0)
        self.wait()
        self.v.ffa.id_get()

    def wait(self):
        with pytest.raises(Blocked):
            self.h.ffa.call(fid.FFA_MSG_WAIT)

    def interrupt(self):
        """The SP has the PE, and handles its interrupt."""
        self.system.machine.gic.set_pending(SPI)
        self.session.run()
        assert self.h.ffa.call(hafnium.HF_INTERRUPT_GET)[0] == SPI

    def end(self):
        """The SP is done, and time passes."""
        self.wait()
        self.session.run()


@pytest.fixture
def rig(ffabric):
    return Rig(ffabric)


def test_a_vm_that_comes_meanwhile_starts(rig):
    rig.interrupt()
    rig.system.create_vm(vm("x"))
    rig.end()
    assert rig.session.vm("x").ffa.id_get() == 3


def test_a_vm_that_goes_meanwhile_is_gone(rig):
    rig.interrupt()
    rig.system.destroy_vm("w")
    rig.end()
    assert "w" not in rig.system.endpoints


def test_what_the_sp_gives_back_of_a_dead_vm_is_free(rig):
    frames = rig.system.hypervisor.frames
    handle = rig.v.ffa.lend("h", ipa=rig.v.ram.allocate(1))
    permissions = mem.PERM_DATA_RW | mem.PERM_INSTRUCTION_NX
    rig.h.ffa.retrieve(handle, "v", permissions=permissions)
    rig.wait()
    rig.system.destroy_vm("v")
    rig.session.run()
    kept = frames.free_pages
    rig.interrupt()
    rig.h.ffa.relinquish(handle)
    rig.end()
    assert frames.free_pages == kept + 1
