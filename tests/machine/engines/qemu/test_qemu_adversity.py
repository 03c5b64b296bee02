"""A QEMU dies, stops or is destroyed at every tenth call of a scenario: the others go on.

The victim is a VM that shares and lends memory to an SP, talks to it, and takes it back; or an SP
in QEMU that is talked to. Nothing depends on how fast anything is: all happens at a call.
"""

import gc
import itertools
import os
import shutil
import signal
from pathlib import Path

import pytest
from puppets import RAM, Cpu, Puppeteer, Puppets, map_buffers, send

import processes_at_hand
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.guests.errors import FfaError
from ffabric.guests.partition import Partition
from ffabric.machine.access import DataAbort
from ffabric.machine.events import Call
from ffabric.machine.machine import Stalled
from ffabric.system.crash import PartitionCrashed
from ffabric.system.description.python import sp

PAGE = RAM + 0x10_0000
SIZE = 4 << 20
CALLS = 60
"""As many as the scenario makes, at least."""
RETRIEVE, RELINQUISH, TALK = range(3)
SERVANT = Path(__file__).parents[3] / "images" / "servant.bin"


@pytest.fixture(autouse=True)
def qemu():
    if shutil.which("qemu-system-aarch64") is None:
        pytest.fail("no QEMU: apt-get install qemu-system-arm")


class Keeper(Partition):
    """An SP that retrieves what it is told, and gives it back when it is told or the VM is gone."""

    manifest = {"vm_availability_messages": 2}  # noqa: RUF012

    def __init__(self):
        super().__init__("keeper")
        self.held = {}

    async def on_direct_request(self, request, ffa):
        what, handle, *_ = request.payload
        try:
            if what == RETRIEVE:
                await ffa.retrieve(handle, request.sender)
                self.held[handle] = request.sender
            elif what == RELINQUISH:
                await ffa.relinquish(handle)
                del self.held[handle]
        except FfaError as error:
            return request.respond(error.status)
        return request.respond(0)

    async def on_vm_destroyed(self, vm, ffa):
        for handle in [each for each, owner in self.held.items() if owner == vm]:
            await ffa.relinquish(handle)
            del self.held[handle]


class At:
    """A tracer that does something at the call number ``number`` of ``endpoint``, once."""

    def __init__(self, endpoint, number, action):
        self.endpoint, self.number, self.action = endpoint, number, action
        self.seen = 0

    def record(self, event):
        if isinstance(event, Call) and event.endpoint == self.endpoint:
            self.seen += 1
            if self.seen == self.number:
                self.action()


def go_on(work, endpoint):
    """Do that again and again, until somebody is not there any more: the process id of its QEMU."""
    pid = None
    try:
        for _ in itertools.count():
            work()
            pid = endpoint.guest.process.pid
    except (Stalled, FfaError, PartitionCrashed, DataAbort):
        return pid or endpoint.guest.process.pid


def talk(cpu, keeper, what, handle=0):
    """A direct request to the keeper."""
    word = cpu.endpoint.id << 16 | keeper
    return cpu.call(fid.FFA_MSG_SEND_DIRECT_REQ_64, word, 0, what, handle)


def scenario(cpu, keeper):
    """What the victim does, if it is let."""
    map_buffers(cpu)
    for kind in (fid.FFA_MEM_SHARE_64, fid.FFA_MEM_LEND_64):
        for n in range(2):
            talk(cpu, keeper, TALK)
            answer = send(cpu, kind, [(PAGE + n * 0x2000, 1)], [keeper])
            assert answer[0] & MASK32 == fid.FFA_SUCCESS_32
            handle = answer[2] & MASK32 | answer[3] << 32
            assert talk(cpu, keeper, RETRIEVE, handle)[3] == 0
            assert talk(cpu, keeper, RELINQUISH, handle)[3] == 0
            assert cpu.call(fid.FFA_MEM_RECLAIM, *answer[2:4], 0)[0] == fid.FFA_SUCCESS_32
    cpu.call(fid.FFA_RXTX_UNMAP)


def create(puppets, puppeteer):
    """The victim, on ``puppeteer``."""
    puppets.cpus[0][0].do("nothing")
    number = puppets.system.endpoints[puppeteer.name].id - 0x8001
    endpoint = puppets.system.create_vm(puppets.vm("victim", number, 1, mem_size=SIZE))
    puppeteer.stop = puppets.system.machine.stop
    puppeteer.results.clear()
    puppeteer.waits = False
    return Cpu(puppets, endpoint, puppeteer, 0)


def kill(puppets, victim):
    os.kill(victim.guest.process.pid, signal.SIGKILL)


def stop(puppets, victim):
    processes_at_hand.stop(victim.guest.process.pid)
    victim.guest.deadline = 0.5


def destroy(puppets, victim):
    puppets.system.destroy_vm(victim.name)


def open_files():
    """How many there are when nothing but what is in use is remembered."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("what", [kill, stop, destroy], ids=lambda what: what.__name__)
@pytest.mark.parametrize("call", range(1, CALLS, 10))
def test_a_vm_that_ends_at_any_call_leaves_nothing_and_hurts_nobody(what, call):
    keeper, puppeteer = Keeper(), Puppeteer("late-puppeteer")
    with Puppets(1, sps=[keeper, puppeteer], pes=2) as puppets:
        ((other,),) = puppets.cpus
        keeper_id = puppets.system.endpoints["keeper"].id
        scenario(create(puppets, puppeteer), keeper_id)  # the tables for that are there from now on
        puppets.system.destroy_vm("victim")
        other.do("nothing")
        puppeteer.commands.append((0,))  # it lets go of the request of a VM that is no more
        other.do("nothing")
        hypervisor, spmc = puppets.system.firmware.hypervisor, puppets.system.firmware.spmc
        files = open_files()
        before = hypervisor.frames.free_pages, hypervisor.pool.in_use, spmc.pool.in_use
        cpu = create(puppets, puppeteer)
        endpoint = cpu.endpoint
        at = At("victim", call, lambda: what(puppets, endpoint))
        puppets.system.attach(at)
        pid = go_on(lambda: scenario(cpu, keeper_id), endpoint)
        assert at.seen >= call
        while endpoint.partition.alive or "victim" in puppets.system.endpoints:
            other.do("nothing")
        puppeteer.commands.append((0,))
        for n in range(10):
            assert other.do("store", PAGE, n).exceptions == 0
        while hypervisor.retried.orphans:
            other.do("nothing")
        after = hypervisor.frames.free_pages, hypervisor.pool.in_use, spmc.pool.in_use
        assert after == before
        assert not keeper.held
        assert not spmc.regions.live
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert other.do("load", PAGE).value == 9
        puppets.system.attach(None)
        puppets.system.deaths.clear()
        del at.action
        assert open_files() <= files + 1  # a failed run's last frames may have its mailbox


@pytest.mark.parametrize("call", range(1, 40, 10))
def test_an_sp_that_dies_at_any_call_is_named_and_its_callers_go_on(ffabric, call):
    servant = sp(name="servant", image=SERVANT, engine="qemu", mem_size=SIZE)
    session = ffabric.boot(sps=[servant, "other"], vms=["client"], stop_on_crash=False)
    system, ffa = session.system, session.vm("client").ffa
    guest = system.endpoints["servant"].guest
    at = At("client", call, lambda: os.kill(guest.process.pid, signal.SIGKILL))
    system.attach(at)
    page = ffa.ram.allocate()

    def talk_and_share():
        ffa.direct_request("servant", 0)
        ffa.reclaim(ffa.share(to="servant", ipa=page))

    pid = go_on(talk_and_share, system.endpoints["servant"])
    assert at.seen >= call
    assert f"QEMU (process {pid}) ended: killed by SIGKILL" in guest.ended
    system.run()
    for region in [*system.firmware.spmc.regions.live]:
        ffa.reclaim(region)
    handle = ffa.share(to="other", ipa=page)
    ffa.reclaim(handle)
    assert not system.firmware.spmc.regions.live
