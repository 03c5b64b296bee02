"""The architected timers of VMs and kernels: whose they are, and when they end."""

import pytest

from ffabric.abi import psci
from ffabric.machine.devices.generic_timer import PPI_PHYSICAL, PPI_VIRTUAL
from ffabric.machine.gic import GROUP1NS
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import vm

MILLISECOND = 1_000_000
TIMERS = {"CNTP": PPI_PHYSICAL, "CNTV": PPI_VIRTUAL}


class Rig:
    """A VM, or a kernel, with two vCPUs of which the second has its timers set."""

    def __init__(self, ffabric, *, hypervisor=True):
        self.system = ffabric.boot(pes=2, vms=[vm("v", vcpus=2)], hypervisor=hypervisor)
        self.v = self.system.vm("v")
        self.inside = self.system.system
        self.clock = self.inside.machine.clock
        self.gic = self.v._inside.partition.gic or self.inside.machine.gic
        self.turn_on()

    def turn_on(self):
        mpidr = self.inside.machine.pes[1].mpidr
        assert self.v.vcpu(0).call(psci.CPU_ON_64, mpidr, self.v._inside.spec.entry)[0] == 0
        self.system.run()

    def turn_off(self):
        with pytest.raises(Blocked):
            self.v.vcpu(1).call(psci.CPU_OFF)

    def register(self, name, value=None, vcpu=1):
        """Read a system register of a vCPU, or write it."""
        ctx = self.v._inside.partition.contexts[vcpu]
        given = (True, value) if value is not None else (False, 0)
        return self.inside.cpu_registers.access(ctx, name, *given)

    def set(self, timer, nanoseconds):
        self.register(f"{timer}_TVAL_EL0", nanoseconds // 16)
        self.register(f"{timer}_CTL_EL0", 1)

    def listen(self, intid):
        """Both vCPUs take the interrupt, if it comes."""
        for vcpu in range(2):
            for name, value in (("ICC_PMR_EL1", 0xFF), ("ICC_IGRPEN1_EL1", 1)):
                self.gic.sysreg_write(vcpu, name, value, secure=False)
            self.gic.configure(intid, vcpu, group=GROUP1NS, enabled=True)

    def pending(self, intid):
        """The vCPUs for which the interrupt is pending."""
        most_urgent = [self.gic.pending(vcpu) for vcpu in range(2)]
        return [n for n, each in enumerate(most_urgent) if each is not None and each[0] == intid]


@pytest.fixture(params=[True, False], ids=["VM", "kernel"])
def rig(request, ffabric):
    return Rig(ffabric, hypervisor=request.param)


@pytest.mark.parametrize("timer", TIMERS)
def test_a_timer_interrupts_its_own_vcpu(rig, timer):
    intid = TIMERS[timer]
    rig.listen(intid)
    rig.set(timer, MILLISECOND)
    rig.clock.advance(MILLISECOND // 2)
    assert not rig.pending(intid)
    rig.clock.advance(MILLISECOND)
    assert rig.pending(intid) == [1]
    rig.register(f"{timer}_CTL_EL0", 3)
    assert not rig.pending(intid)


@pytest.mark.parametrize("timer", TIMERS)
def test_a_vcpu_that_is_turned_on_again_has_its_timers_off(rig, timer):
    rig.listen(TIMERS[timer])
    rig.set(timer, MILLISECOND)
    rig.turn_off()
    rig.turn_on()
    assert rig.register(f"{timer}_CTL_EL0") == 0
    rig.clock.advance(2 * MILLISECOND)
    assert not rig.pending(TIMERS[timer])


@pytest.mark.parametrize("timer", TIMERS)
def test_a_timer_that_was_due_while_its_vcpu_was_off_is_not_due_afterwards(rig, timer):
    rig.listen(TIMERS[timer])
    rig.set(timer, MILLISECOND)
    rig.turn_off()
    rig.clock.advance(2 * MILLISECOND)
    rig.turn_on()
    assert not rig.pending(TIMERS[timer])


@pytest.mark.parametrize("register", ["CNTVOFF_EL2", "CNTHP_CTL_EL2", "CNTPS_CTL_EL1"])
def test_registers_of_other_exception_levels_are_undefined(rig, register):
    assert rig.register(register) is None
    assert rig.register(register, 1) is None
    assert rig.register("CNTVCT_EL0") == rig.register("CNTPCT_EL0")


def test_the_timers_of_a_destroyed_vm_are_no_more(ffabric):
    rig = Rig(ffabric)
    rig.set("CNTP", MILLISECOND)
    rig.set("CNTV", MILLISECOND)
    assert rig.clock.next_deadline() is not None
    rig.system.destroy_vm("v")
    assert rig.clock.next_deadline() is None
