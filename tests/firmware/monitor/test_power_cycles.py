"""A PE goes off and comes on again: what was waiting there begins anew, and all else goes on."""

import struct
from pathlib import Path

import pytest

from ffabric import Partition, boot, sp, vm
from ffabric.abi import hafnium, psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import pack_ids
from ffabric.firmware.state.context import State
from ffabric.testing import Blocked

IMAGE = (Path(__file__).parents[2] / "images" / "hafnium_sp.bin").read_bytes()
NOTES = len(IMAGE)
PES = 2
MILLISECOND = 1_000_000


class Kernel:
    """A kernel with a vCPU on each PE, which it turns off and on."""

    def __init__(self, *sps):
        kernel = vm("kernel", vcpus=PES)
        self.system = boot(pes=PES, sps=sps, vms=[kernel], hypervisor=False, stop_on_crash=False)
        self.inside = self.system.system
        self.machine = self.inside.machine
        self.kernel = self.system.vm("kernel")
        self.on(1, by=0)

    def on(self, pe, by):
        entry = self.kernel._inside.spec.entry
        x = self.kernel.vcpu(by).call(psci.CPU_ON_64, self.machine.pes[pe].mpidr, entry)
        assert x[0] == 0
        self.system.run()

    def off(self, pe):
        with pytest.raises(Blocked):
            self.kernel.vcpu(pe).call(psci.CPU_OFF)
        assert not self.machine.pes[pe].on

    def ask(self, name, pe):
        """w3 of the answer to a request, or its function ID and w2 if it is none."""
        ids = pack_ids(0, self.inside.endpoint(name).id)
        x = self.kernel.vcpu(pe).call(fid.FFA_MSG_SEND_DIRECT_REQ_32, ids)
        return x[3] if x[0] == fid.FFA_MSG_SEND_DIRECT_RESP_32 else (x[0], x[2])

    def contexts(self, name):
        return self.inside.endpoint(name).partition.contexts


def notes(endpoint, index):
    """What an image's context has found in x0 to x7, and zeros from now on."""
    base = endpoint.spec.load_address + 0x4000 + NOTES + 64 * index
    found = struct.unpack("<8Q", endpoint.memory.read(base, 64))
    endpoint.memory.write(base, b"\xff" * 64)
    return found


@pytest.mark.parametrize("pe", [0, 1])
def test_a_context_of_an_image_begins_at_the_entry_that_was_registered(pe):
    rig = Kernel(sp("h", image=IMAGE, vcpus=PES, mem_size=0x1_0000))
    endpoint = rig.inside.endpoint("h")
    other = 1 - pe
    notes(endpoint, pe)
    notes(endpoint, other)
    rig.off(pe)
    assert rig.contexts("h")[pe].state is State.OFF
    assert rig.contexts("h")[other].state is State.WAITING
    rig.on(pe, by=other)
    assert rig.contexts("h")[pe].state is State.WAITING
    assert notes(endpoint, pe) == (0, 0, 0, 0, pe, 0, 0, 0)
    assert set(notes(endpoint, other)) == {(1 << 64) - 1}
    assert (rig.ask("h", 0), rig.ask("h", 1)) == (0, 0)


class Counts(Partition):
    """Counts how often its vCPUs initialise themselves, and answers with that."""

    def __init__(self, name="counts", *, yields=False):
        super().__init__()
        self.name, self.yields, self.begun = name, yields, [0] * PES

    async def on_boot(self, ffa):
        self.begun[ffa.vcpu.index] += 1

    async def on_direct_request(self, request, ffa):
        if self.yields:
            await ffa.yield_()
        return request.respond(self.begun[ffa.vcpu.index])


def test_vcpus_in_python_initialise_themselves_again_but_for_the_first():
    software = Counts()
    rig = Kernel(sp(software, name="counts", vcpus=PES))
    assert software.begun == [1, 1]
    for pe in (1, 0, 1, 0):
        rig.off(pe)
        rig.on(pe, by=1 - pe)
    assert software.begun == [1, 3]
    assert (rig.ask("counts", 0), rig.ask("counts", 1)) == (1, 3)


def test_an_sp_that_runs_on_any_pe_goes_on_waiting():
    software = Counts()
    rig = Kernel(sp(software, name="counts"))
    assert rig.ask("counts", 1) == 1
    rig.off(1)
    assert rig.contexts("counts")[0].state is State.WAITING
    assert rig.ask("counts", 0) == 1
    rig.on(1, by=0)
    assert rig.ask("counts", 1) == 1


def test_one_that_has_yielded_goes_on_where_it_was():
    software = Counts(yields=True)
    rig = Kernel(sp(software, name="counts", vcpus=PES))
    assert rig.ask("counts", 1) == (fid.FFA_YIELD, 0)
    rig.off(1)
    rig.on(1, by=0)
    assert software.begun == [1, 1]
    word = pack_ids(rig.inside.endpoint("counts").id, 1)
    assert rig.kernel.vcpu(1).call(fid.FFA_RUN, word)[0] == fid.FFA_MSG_SEND_DIRECT_RESP_32


def test_one_that_has_aborted_remains_so():
    class Fails(Counts):
        async def on_direct_request(self, request, ffa):
            raise ValueError("no more")

    rig = Kernel(sp(Fails(), name="counts", vcpus=PES))
    rig.ask("counts", 1)
    rig.off(1)
    rig.on(1, by=0)
    assert {each.state for each in rig.contexts("counts")} == {State.ABORTED}


class Timed(Counts):
    """Sets its timer when it is asked to, and hears of it."""

    def __init__(self, name="timed", *, at=MILLISECOND):
        super().__init__(name)
        self.heard, self.at = [], at

    async def on_boot(self, ffa):
        await super().on_boot(ffa)
        await self.enable_interrupt(ffa, hafnium.VIRTUAL_TIMER_INTID)

    async def on_direct_request(self, request, ffa):
        ffa.vcpu.msr("CNTP_TVAL_EL0", self.at // 16)
        ffa.vcpu.msr("CNTP_CTL_EL0", 1)
        return request.respond(self.begun[ffa.vcpu.index])

    async def on_device_interrupt(self, intid, ffa):
        self.heard.append((intid, ffa.vcpu.index, ffa.vcpu.pe))
        ffa.vcpu.msr("CNTP_CTL_EL0", 0)


def test_a_timer_whose_pe_is_off_interrupts_on_another_if_its_sp_runs_on_any():
    software = Timed()
    rig = Kernel(sp(software, name="timed"))
    rig.ask("timed", 1)
    rig.off(1)
    rig.system.run()
    assert software.heard == [(hafnium.VIRTUAL_TIMER_INTID, 0, 0)]


def test_a_timer_that_is_due_moves_when_its_pe_goes_off():
    class Queues(Counts):
        """Has the PE to itself, and lets the timer become due."""

        async def on_power_message(self, function, ffa):
            rig.machine.clock.advance(2 * MILLISECOND)

    software = Timed()
    queues = Queues("queues")
    rig = Kernel(
        sp(software, name="timed"),
        sp(queues, name="queues", vcpus=PES, power_management_messages=1,
           other_s_interrupts_action=0, ns_interrupts_action=0),
    )  # fmt: skip
    rig.ask("timed", 1)
    rig.off(1)
    rig.system.run()
    assert [intid for intid, _, _ in software.heard] == [hafnium.VIRTUAL_TIMER_INTID]


def test_a_context_that_begins_anew_has_its_timers_off():
    software = Timed()
    rig = Kernel(sp(software, name="timed", vcpus=PES))
    rig.ask("timed", 1)
    rig.off(1)
    rig.on(1, by=0)
    rig.machine.clock.advance(2 * MILLISECOND)
    rig.system.run()
    assert software.heard == []
    rig.ask("timed", 1)
    rig.system.run()
    assert software.heard == [(hafnium.VIRTUAL_TIMER_INTID, 1, 1)]
