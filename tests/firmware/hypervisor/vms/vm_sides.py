"""A system whose VMs come and go, and what must be left of one that is gone."""

import pytest

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.framework import VM_CREATED, VM_DESTROYED
from ffabric.abi.words import PAGE
from ffabric.firmware.state.context import State
from ffabric.guests.partition import Partition
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp, vm

REQ, RESP = fid.FFA_MSG_SEND_DIRECT_REQ_64, fid.FFA_MSG_SEND_DIRECT_RESP_64
RWNX = mem.PERM_DATA_RW | mem.PERM_INSTRUCTION_NX


def pages_of(*endpoints):
    """How many pages these have of their own."""
    return sum(each.size for endpoint in endpoints for each in endpoint.spec.memory) // PAGE


class Listener(Partition):
    """An SP that wants to know which VMs there are."""

    manifest = {"vm_availability_messages": 3}  # noqa: RUF012

    def __init__(self):
        super().__init__("listener")
        self.heard = []
        self.held = []

    async def on_direct_request(self, request, ffa):
        return request.respond(*request.payload)

    async def on_vm_created(self, vm, ffa):
        self.heard.append((VM_CREATED, vm))

    async def on_vm_destroyed(self, vm, ffa):
        self.heard.append((VM_DESTROYED, vm))
        while self.held:
            await ffa.relinquish(self.held.pop())


class World:
    """A system with a VM ``v`` of two vCPUs that will be destroyed, and what must be left."""

    def __init__(self, ffabric, **options):
        self.listener = Listener()
        sps = [self.listener, "u", sp("m", vcpus=4)]
        options.setdefault("vms", [vm("v", vcpus=2), vm("w", vcpus=2)])
        self.session = ffabric.boot(sps=sps, pes=4, **options)
        self.system = self.session.system
        self.machine = self.system.machine
        self.hypervisor = self.system.firmware.hypervisor
        self.spmc = self.system.firmware.spmc
        self.listener.heard.clear()
        self.before = self.resources()

    def resources(self):
        return (
            self.hypervisor.frames.free_pages,
            self.hypervisor.pool.in_use,
            len(self.machine.bus.regions),
        )

    def vcpu(self, name, index=0):
        return self.session.vm(name).vcpu(index)

    def start(self, name, index=1):
        """Let a secondary vCPU run."""
        mpidr = self.machine.pes[index].mpidr
        self.vcpu(name).call(psci.CPU_ON_64, mpidr, 0x4000_0000, 0)
        self.session.run()

    def leave(self, calls, *registers):
        """A call that does not return."""
        with pytest.raises(Blocked):
            calls.call(*registers)

    def ask(self, calls, to, *payload):
        """A direct request that somebody has to answer."""
        self.leave(calls, REQ, calls.endpoint << 16 | self.system.resolve(to), 0, *payload)

    def answer(self, calls, to, *payload):
        """Respond."""
        self.leave(calls, RESP, calls.endpoint << 16 | to, 0, *payload)

    def destroy(self, name="v", **options):
        endpoint = self.system.endpoint(name)
        self.system.destroy_vm(name, **options)
        self.session.run()
        return endpoint

    def check_gone(self, endpoint, orphans=0):
        """Nothing of the VM is left."""
        hypervisor, spmc, number = self.hypervisor, self.spmc, endpoint.id
        assert endpoint.name not in self.system.endpoints
        assert number not in hypervisor.partitions
        assert not [r for r in hypervisor.regions.live.values() if r.sender == number]
        assert not [r for r in hypervisor.regions.pending.values() if r.sender == number]
        assert number not in hypervisor.regions.counts
        assert not [key for key in hypervisor.regions.responses if key[1] == number]
        assert len([r for r in spmc.regions.live.values() if r.sender == number]) == orphans
        assert number not in spmc.vm_mailboxes
        assert number not in spmc.remote_notifications
        assert number not in hypervisor.shared_mailboxes
        assert not hypervisor.unfinished
        assert not hypervisor.retried.messages
        assert not hypervisor.deferred
        contexts = set(endpoint.partition.contexts)
        for pe in self.machine.pes:
            assert pe.current not in contexts
            cpu = hypervisor.cpus[pe.index]
            assert not contexts.intersection(cpu.ready)
            assert cpu.preempted not in contexts
            assert cpu.caller not in contexts
        assert all(ctx.state is State.ABORTED for ctx in contexts)
        frames, tables, regions = self.resources()
        assert frames == self.before[0] + pages_of(endpoint)
        assert tables < self.before[1]
        assert regions == self.before[2] - 2
        assert self.listener.heard == [(VM_DESTROYED, number)]

    def check_alive(self):
        """The others go on."""
        w = self.vcpu("w")
        assert w.direct_request("listener", 7).payload[0] == 7
