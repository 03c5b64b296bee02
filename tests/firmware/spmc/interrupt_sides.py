"""SPs with a device each, and interrupts that a test raises while they and a VM work."""

from itertools import pairwise

from chain_sides import Link, boot

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.state.context import State
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import DeviceRegion, Interrupt

FIRST = 40
EDGE, LEVEL = 0x100, 0x300  # secure, and how it is triggered
IRQ, FIQ = 1, 2  # a driven vCPU's lines


def device(intid, kind=EDGE):
    """A device region whose interrupt is secure."""
    return DeviceRegion(
        name=f"device{intid}",
        base_address=0x1C09_0000 + 0x1_0000 * intid,
        pages=1,
        attributes=3,
        interrupts=(Interrupt(intid, kind),),
    )


class Server(Link):
    """An SP that owns a device."""

    intid = 0

    def get(self):
        """HF_INTERRUPT_GET."""
        return self.call(hafnium.HF_INTERRUPT_GET)[0]

    def end(self):
        """HF_INTERRUPT_DEACTIVATE of its device's interrupt."""
        return self.call(hafnium.HF_INTERRUPT_DEACTIVATE, self.intid, self.intid)[0]

    @property
    def lines(self):
        """Its vIRQ (bit 0) and vFIQ (bit 1)."""
        return self.ctx.runner.lines

    @property
    def is_told(self):
        """Whether it has control, and FFA_INTERRUPT as the answer to its call."""
        return self.has_control and self.x[0] == fid.FFA_INTERRUPT


class Rig:
    """A VM ``v`` and SPs a, b, c, d, each with an edge-triggered device, on one PE."""

    def __init__(self, ffabric, kind=EDGE, hypervisor=True, pes=1, **options):
        names = "abcd"
        sps = [
            sp(name, device_regions=(device(FIRST + n, kind),), **options.get(name, {}))
            for n, name in enumerate(names)
        ]
        self.session = boot(ffabric, sps, [vm("v", vcpus=pes)], hypervisor=hypervisor, pes=pes)
        self.system = self.session.system
        self.machine, self.gic = self.system.machine, self.system.machine.gic
        self.v = Link(self.session, "v")
        self.servers = self.a, self.b, self.c, self.d = [
            Server(self.session, name) for name in names
        ]
        for n, server in enumerate(self.servers):
            server.intid = FIRST + n
            self.v.leave(fid.FFA_RUN, server.word)
            server.call(hafnium.HF_INTERRUPT_ENABLE, server.intid, 1, 0)
            server.wait()

    def chain(self, *links):
        """Each asks the next; the last has control."""
        for requester, other in pairwise(links):
            requester.ask(other)
        return links[-1]

    def raise_(self, *servers):
        """The devices of these want something; the PE notices at the next exit."""
        for server in servers:
            self.gic.set_pending(server.intid)

    def raise_non_secure(self):
        """A non-secure interrupt for the normal world."""
        self.gic.set_pending(self.system.firmware.spmc.sri, 0)

    def step(self, link):
        """An exit of ``link``; whether it keeps control."""
        try:
            link.call(fid.FFA_ID_GET)
        except Blocked:
            return False
        return True

    def in_control(self):
        """Who has the PE."""
        (found,) = [each for each in (self.v, *self.servers) if each.has_control]
        return found

    def states(self, *links):
        """The states of these."""
        return [each.state for each in links]


RUNNING, BLOCKED, PREEMPTED, WAITING = (
    State.RUNNING,
    State.BLOCKED,
    State.PREEMPTED,
    State.WAITING,
)
