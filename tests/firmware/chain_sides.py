"""Endpoints of a whole system that a test drives through their chains of calls.

An account is kept of all calls and answers.
"""

import pytest

from calls_and_answers import Account
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status, from_register
from ffabric.abi.words import MASK32
from ffabric.firmware.state.context import State
from ffabric.guests.errors import FfaError, status_of
from ffabric.session.ffa import Blocked
from ffabric.session.system import System
from ffabric.system.booting.boot import boot as boot_system
from ffabric.system.description.python import describe

REQ, RESP = fid.FFA_MSG_SEND_DIRECT_REQ_64, fid.FFA_MSG_SEND_DIRECT_RESP_64
REQ2, RESP2 = fid.FFA_MSG_SEND_DIRECT_REQ2, fid.FFA_MSG_SEND_DIRECT_RESP2


class Link:
    """A vCPU in a chain of calls."""

    def __init__(self, session, name, vcpu=0):
        endpoint = session.system.endpoint(name)
        self.session, self.name, self.vcpu = session, name, vcpu
        self.handle = session.sp(name) if endpoint.spec.secure else session.vm(name)
        self.id, self.partition = endpoint.id, endpoint.partition
        self.ffa = self.handle.vcpu(vcpu)
        self.ctx = endpoint.partition.contexts[vcpu]

    @property
    def word(self):
        """Its id and number, as FFA_RUN takes them."""
        return self.id << 16 | self.vcpu

    @property
    def x(self):
        """Its registers."""
        return self.ctx.x

    @property
    def state(self):
        """The state of its execution context."""
        return self.ctx.state

    @property
    def has_control(self):
        """Whether it can make the next call."""
        return self.ctx.runner.in_control

    def call(self, *registers):
        """A call that returns: the registers."""
        return self.ffa.call(*registers)

    def must(self, *registers):
        """A call that returns: the registers; FFA_ERROR raises."""
        x = self.ffa.call(*registers)
        if x[0] & MASK32 == fid.FFA_ERROR:
            raise FfaError(status_of(x[2]), registers[0])
        return x

    def leave(self, *registers):
        """A call that gives the PE to somebody else."""
        with pytest.raises(Blocked):
            self.ffa.call(*registers)

    def ask(self, other, *payload, function=REQ):
        """Make a direct request; the other has control then."""
        self.leave(*message(self, other, payload, function))
        assert other.has_control

    def answer(self, other, *payload, function=RESP):
        """Respond; the other has control then."""
        self.leave(*message(self, other, payload, function))
        assert other.has_control

    def wait(self):
        """FFA_MSG_WAIT."""
        self.leave(fid.FFA_MSG_WAIT)
        assert self.state is State.WAITING

    @property
    def status(self):
        """The status of the FFA_ERROR in its registers."""
        assert self.x[0] == fid.FFA_ERROR
        return Status(from_register(self.x[2]))  # type: ignore[arg-type]


def message(sender, receiver, payload, function):
    """The registers of a direct message."""
    unused = (0, 0) if function in (REQ2, RESP2) else (0,)
    return (function, sender.id << 16 | receiver.id, *unused, *payload)


def boot(ffabric, sps, vms, **options):
    """A system of these that goes on when a partition crashes; MP SPs start on every PE."""
    spec = describe(sps=sps, vms=vms, stop_on_crash=False, **options)
    system = boot_system(spec, seed=ffabric.seed)
    system.attach(Account())
    session = System(system)
    ffabric._systems.append(session)
    for endpoint in system.endpoints.values():
        if endpoint.spec.secure:
            endpoint.partition.secondary_entry = endpoint.partition.entry  # type: ignore[attr-defined]
    system.run()
    return session


def links(ffabric, sps, vms, **options):
    """Links to the first vCPUs, those of VMs first."""
    session = boot(ffabric, sps, vms, **options)
    return [Link(session, each if isinstance(each, str) else each.name) for each in [*vms, *sps]]
