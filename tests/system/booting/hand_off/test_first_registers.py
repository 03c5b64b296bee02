"""What an image finds in its registers when it begins."""

import struct

from ffabric.machine.events import Call
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, sp, vm

HVC, WFI, BACK = 0xD400_0002, 0xD503_207F, 0x17FF_FFFF
"""hvc #0; wfi; b .-4"""
IMAGE = struct.pack("<3I", HVC, WFI, BACK)


class Calls:
    """A tracer that keeps the registers of calls."""

    def __init__(self):
        self.heard = []

    def record(self, event):
        if isinstance(event, Call):
            self.heard.append(event.x)


def test_a_vm_without_a_devicetree_is_told_nothing():
    calls = Calls()
    with boot(describe(vms=[vm("v", image=IMAGE)], stop_on_crash=False)) as system:
        system.attach(calls)
        system.run()
    assert calls.heard[0] == (0,) * 18


def test_an_sp_is_told_where_its_boot_information_is():
    calls = Calls()
    with boot(describe(sps=[sp("s", image=IMAGE)], stop_on_crash=False)) as system:
        system.attach(calls)
        system.run()
        (spec,) = system.spec.sps
        load = spec.load_address
    assert calls.heard[0] == (load, *[0] * 17)
