"""Endpoints that do anything, allowed or not, in an order that a seed decides."""

from contextlib import suppress
from copy import deepcopy
from random import Random
from types import SimpleNamespace
from typing import Any

from chain_sides import REQ, REQ2, RESP, RESP2, Link, message

from ffabric.abi import hafnium, lfa, psci
from ffabric.abi.ffa import framework
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.options import MemoryPermissions
from ffabric.abi.ffa.version import V1_3
from ffabric.guests.errors import FfaError
from ffabric.machine.machine import Stalled
from ffabric.session.ffa import Blocked
from ffabric.session.system import System
from ffabric.system.booting.activation import stage
from ffabric.system.booting.boot import boot
from ffabric.system.copying import copy_of
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.manifest.manifest import AbortAction, DeviceRegion, Interrupt, MemoryRegion
from ffabric.system.spec import PythonSource
from ffabric.system.vcpu import OutOfMemory

PES = 2
RW_NX = MemoryPermissions.RW | MemoryPermissions.NX
FIRST = 40


def device(intid):
    """A device region with a secure edge-triggered interrupt."""
    return DeviceRegion(
        name=f"device{intid}",
        base_address=0x1C09_0000 + 0x1_0000 * intid,
        pages=1,
        attributes=3,
        interrupts=(Interrupt(intid, 0x100),),
    )


class Walk:
    """Two PEs; SPs `m` (MP), `h`, `q` (UP), all with devices; VMs `s` (schedules) and `w`.

    When `q` aborts it is started again. It can be replaced, as whoever schedules asks for.

    Every fifth walk is without a hypervisor: `s` is the kernel then; in others it is primary.
    `exchanging`: memory, messages and notifications go around, too.
    """

    def __init__(self, seed, *, exchanging=False):
        self.random = Random(seed)
        self.exchanging = exchanging
        begins_again: dict[str, Any] = {
            "ffa_version": V1_3,
            "lifecycle_support": True,
            "abort_action": AbortAction.RESTART,
            "live_activation_support": True,
            "live_activation_register": 5,
            "image_uuid": "962a7bf0-174d-471d-a686-c89e5c3e254e",
            "live_state_buffer": "state",
            "memory_regions": (MemoryRegion(name="state", pages=1, attributes=3),),
        }
        sps = [
            sp("m", vcpus=PES, device_regions=(device(FIRST + 2),)),
            sp("h", device_regions=(device(FIRST),)),
            sp("q", device_regions=(device(FIRST + 1),), **begins_again),
        ]
        vms = [vm("s", vcpus=PES, has_primary_scheduler=True), vm("w", vcpus=PES)]
        kernel = seed % 5 == 4
        if kernel:
            vms = [vm("s", vcpus=PES)]
        described: dict[str, Any] = {"sps": sps, "vms": vms, "hypervisor": not kernel}
        if seed % 5 == 3:
            described["primary_vm"] = "s"
        self.system = boot(describe(pes=PES, stop_on_crash=False, **described), seed=seed)
        for endpoint in self.system.endpoints.values():
            if endpoint.spec.secure:
                endpoint.partition.secondary_entry = endpoint.partition.entry  # type: ignore[attr-defined]
        for name in self.random.choice(["", "h", "q", "hq"]):
            self.system.endpoint(name).drive_from_start()
        self.system.run()
        self._find()

    def _find(self):
        """Take hold of what the system has."""
        self.session = System(self.system)
        self.machine = self.system.machine
        self._links = [
            Link(self.session, name, n)
            for name in self.system.endpoints
            for n in range(len(self.system.endpoint(name).partition.contexts))
        ]
        self.intids = {"h": FIRST, "q": FIRST + 1, "m": FIRST + 2}

    @property
    def links(self):
        """The vCPUs of all partitions that there are."""
        return [each for each in self._links if each.name in self.system.endpoints]

    def copied(self):
        """A walk that goes on in a copy of the system, with the same steps as this one."""
        walk = object.__new__(Walk)
        walk.random, walk.exchanging = deepcopy(self.random), self.exchanging
        walk.system = copy_of(self.system)
        walk._find()
        return walk

    def some(self, links):
        """One of these, None if there are none."""
        return self.random.choice(links) if links else None

    def step(self):
        """Let one thing happen: mostly a call of whoever has a PE."""
        what = self.random.choices(EVENTS, WEIGHTS)[0]  # type: ignore[arg-type]
        if self.exchanging and self.random.random() < 0.5:
            what = Walk.exchange
        with suppress(Stalled):
            what(self)  # type: ignore[operator]

    def call(self):
        """A call of a vCPU that can make one."""
        link = self.some([each for each in self.links if each.has_control])
        if link is None:
            self.schedule()
            return
        callee = link.ctx.callee
        if callee is not None and callee.gate is None and self.random.random() < 0.2:
            registers: tuple[int, ...] = fid.FFA_RUN, callee.partition.id << 16 | callee.index
        elif link.ctx.framework and link.partition.is_being_activated and link.ctx.request:
            registers = self.stopped(link)
        elif link.ctx.request and self.random.random() < 0.3:
            response = RESP2 if link.ctx.request == REQ2 else RESP
            registers = message(link, SimpleNamespace(id=link.ctx.sender), (), response)
        elif link.ctx.virq.pends() and self.random.random() < 0.3:
            registers = (hafnium.HF_INTERRUPT_GET,)
        elif link.x[0] == fid.FFA_INTERRUPT and self.random.random() < 0.05:
            registers = (fid.FFA_ERROR, 0, 1)
        else:
            registers = self.random.choices(CALLS, CALL_WEIGHTS)[0](self, link)
        with suppress(Blocked):
            link.call(*registers)

    def stopped(self, link):
        """The answer to the request to stop, mostly as it should be."""
        address, size = link.partition.live_state
        return tuple(
            framework.build(
                RESP,
                link.id,
                link.ctx.sender,
                framework.PARTITION_STOP_ACK,
                status=self.random.random() < 0.1,
                live_state=address + 0x1000 * (self.random.random() < 0.1),
                live_state_size=size,
            )
        )

    def activate(self, link):
        """Another image of `q` is there, and some call that is needed to have it activated."""
        agent = self.system.firmware.monitor.live_activation
        if agent.components[0].stage is None:
            stage(self.system, "q", PythonSource())
        function = lfa.LFA_PRIME if agent._primed is None else lfa.LFA_ACTIVATE
        if self.random.random() < 0.1:
            function = lfa.LFA_CANCEL
        return function, 0, self.random.random() < 0.8

    def exchange(self):
        """A vCPU that has its PE sends or gets memory, a message or a notification."""
        link = self.some([each for each in self.links if each.has_control])
        if link is not None:
            with suppress(Blocked, FfaError, OutOfMemory):
                self.random.choice(EXCHANGES)(link.ffa, self.other().id, *self.region())

    def region(self):
        """The handle and the sender of some region that a manager tracks."""
        managers = self.system.firmware.managers
        regions = [region for each in managers for region in each.regions.live.values()]
        region = self.some(regions)
        return (region.handle, region.sender) if region else (0, 0)

    def other(self):
        return self.random.choice(self.links)

    def ask(self, link):
        function = self.random.choice([REQ, REQ2])
        return message(link, self.other(), (), function)

    def run(self, link):
        return fid.FFA_RUN, self.other().word

    def get(self, link):
        intid = self.intids.get(link.name)
        if self.random.random() < 0.5 and intid:
            return hafnium.HF_INTERRUPT_ENABLE, intid, 1, 0
        return (hafnium.HF_INTERRUPT_GET,)

    def cpu_on(self, link):
        pe = self.random.choice(self.machine.pes)
        return psci.CPU_ON_64, pe.mpidr, 0x4000_0000, 0

    def schedule(self):
        """The scheduler of its world gives some vCPU a PE."""
        link = self.other()
        if link.partition.alive and link.ctx.pe is not None:
            self.system.dispatch(link.ctx)

    def raise_secure(self):
        """A device of an SP wants something, on some PE."""
        intid = self.random.choice([*self.intids.values()])
        self.machine.gic.configure(intid, target=self.random.randrange(PES))
        self.machine.gic.set_pending(intid)
        self.system.run()

    def raise_non_secure(self):
        """The normal world gets an interrupt, on some PE."""
        self.machine.gic.set_pending(self.system.firmware.spmc.sri, self.random.randrange(PES))
        self.system.run()

    def destroy(self):
        """The VM `w` is destroyed from outside."""
        if "w" in self.system.endpoints and self.system.endpoint("w").partition.alive:
            self.system.destroy_vm("w")
            self.system.run()

    def leave_a_chain(self):
        """`m` asks `h`, which asks `q`; its device takes it out of its wait, and it dies away."""
        by_name = {(each.name, each.vcpu): each for each in self.links}
        s, s1, m, m1 = (by_name[name, vcpu] for name in "sm" for vcpu in range(PES))
        h, q = by_name["h", 0], by_name["q", 0]
        for link in (h, q):
            if link.has_control:
                link.wait()
        if not s.has_control:
            self.system.dispatch(s.ctx)
        steps: list[Any] = [
            (s, psci.CPU_ON_64, self.machine.pes[1].mpidr, 0x4000_0000, 0),
            (s, fid.FFA_RUN, m.word),
            (m, hafnium.HF_INTERRUPT_ENABLE, self.intids["m"], 1, 0),
            (m, *message(m, h, (), REQ)),
            (h, *message(h, q, (), REQ)),
            (q, fid.FFA_ID_GET),
            (m, hafnium.HF_INTERRUPT_GET),
            (m, fid.FFA_MSG_WAIT),
            (s1, fid.FFA_RUN, m1.word),
            (m1, fid.FFA_ERROR, 0, 1),
        ]
        for link, *registers in steps:
            if link.name == "q":
                self.machine.gic.configure(self.intids["m"], target=0)
                self.machine.gic.set_pending(self.intids["m"])
            if link.has_control:
                with suppress(Blocked):
                    link.call(*registers)


EVENTS, WEIGHTS = zip(
    (Walk.call, 60),
    (Walk.schedule, 12),
    (Walk.raise_secure, 10),
    (Walk.raise_non_secure, 8),
    (Walk.destroy, 0.3),
    strict=True,
)
EXCHANGES = (
    lambda ffa, to, *_: ffa.share(to, ipa=ffa.ram.allocate()),
    lambda ffa, to, *_: ffa.lend(to, ipa=ffa.ram.allocate(2), pages=2),
    lambda ffa, to, *_: ffa.donate(to, ipa=ffa.ram.allocate()),
    lambda ffa, _, handle, sender: ffa.retrieve(handle, sender),
    lambda ffa, _, handle, sender: ffa.retrieve(handle, sender, permissions=RW_NX),
    lambda ffa, _, handle, sender: ffa.relinquish(handle),
    lambda ffa, _, handle, sender: ffa.reclaim(handle),
    lambda ffa, to, *_: ffa.notification_bind(to, 0b11),
    lambda ffa, to, *_: ffa.notification_set(to, 0b01),
    lambda ffa, *_: ffa.notification_get(),
    lambda ffa, to, *_: ffa.send2(to, b"payload"),
    lambda ffa, *_: ffa.rx_release(),
    lambda ffa, *_: ffa.memory.write(ffa.ram.allocate(), b"written"),
)
CALLS, CALL_WEIGHTS = zip(
    (Walk.ask, 20),
    (Walk.run, 20),
    (Walk.get, 8),
    (Walk.cpu_on, 4),
    (Walk.activate, 6),
    (lambda _, link: (fid.FFA_MSG_WAIT,), 8),
    (lambda _, link: (fid.FFA_YIELD,), 6),
    (lambda _, link: (fid.FFA_ERROR, 0, 1), 0.6),
    (lambda _, link: (psci.CPU_OFF,), 0.5),
    strict=True,
)
