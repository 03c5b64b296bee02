"""Systems in which memory can go from `a` to `b` and `c`."""

import pytest
from memory_sides import WORLDS, World

from ffabric.firmware.firmware import Firmware
from ffabric.firmware.state.checking import checked, judge
from ffabric.machine.machine import Machine


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


@pytest.fixture(autouse=True, scope="module")
def _every_verb_is_checked():
    """What contexts do is compared with their table in all tests of the firmware."""
    with checked():
        yield


@pytest.fixture(autouse=True, scope="module")
def _every_chain_is_judged():
    """What always holds of the contexts of both worlds is looked at after each exit."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("route", "dispatch", "interrupt"):
            patch.setattr(
                Firmware, name, _judged(getattr(Firmware, name), lambda firmware: firmware)
            )
        patch.setattr(Machine, "trap", _judged(Machine.trap, lambda machine: machine.firmware))
        yield


def _judged(method, firmware_of):
    def call(self, *args):
        found = method(self, *args)
        _judge(firmware_of(self))
        return found

    return call


def _judge(firmware):
    if not isinstance(firmware, Firmware):  # of a test of another folder
        return
    partitions = [*firmware.spmc.partitions.values(), firmware.spmc.normal_world]
    judge(ctx for each in partitions for ctx in each.contexts)
    if firmware.hypervisor is not None:
        vms = firmware.hypervisor.partitions.values()
        away = {cpu.caller for cpu in firmware.hypervisor.cpus}
        judge((ctx for each in vms for ctx in each.contexts), away=away)
