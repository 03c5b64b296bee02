"""A partition manager without machine and engines: calls go in and out through registers."""

from types import SimpleNamespace
from uuid import UUID

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.status import from_register
from ffabric.abi.ffa.version import V1_2, V1_3
from ffabric.abi.words import PAGE
from ffabric.firmware.manager import cycles
from ffabric.firmware.manager.manager import Manager
from ffabric.firmware.manager.memory import permissions, retrieve, send
from ffabric.firmware.manager.messages import direct, indirect
from ffabric.firmware.manager.notifications import calls as notifications
from ffabric.firmware.manager.setup import console, discovery, features, mailbox, secondary, version
from ffabric.firmware.state.context import Model, State
from ffabric.firmware.state.endpoints import Sp, Vm, World
from ffabric.firmware.state.events import Refuse
from ffabric.firmware.state.interface.call_table import CallTable
from ffabric.firmware.state.partition import ExecutionContext
from ffabric.machine import exits
from ffabric.machine.context import PE
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation.descriptors import (
    AF,
    MEMATTR_NORMAL_WB,
    S2AP_R,
    S2AP_W,
    SH_INNER,
    VALID,
)
from ffabric.machine.translation.pages import PagePool
from ffabric.machine.translation.stage2 import Stage2

ROOMS = (version, features, discovery, mailbox, direct, indirect, cycles, notifications)
CALLS = CallTable(
    *(room.HANDLERS for room in (*ROOMS, send, retrieve, permissions, secondary, console))
)
PHYSICAL_CALLS = CallTable(always=CALLS.handlers, at=fid.Instance.NS_PHYSICAL)

TABLES, RAM = 0x1000_0000, 0x4000_0000
PAGES = 48  # per partition: 16 pages each for TX and RX, and 16 more
RWX = VALID | AF | SH_INNER | MEMATTR_NORMAL_WB | S2AP_R | S2AP_W
EVERYTHING = (
    info.DIRECT_REQ_RECEIVE
    | info.DIRECT_REQ_SEND
    | info.INDIRECT_MESSAGES
    | info.DIRECT_REQ2_RECEIVE
    | info.DIRECT_REQ2_SEND
)
POISON = 0xA5A5_A5A5_A5A5_A5A5


class Tracer:
    """Keeps what it hears."""

    def __init__(self):
        self.events = []

    def record(self, event):
        self.events.append(event)

    @property
    def refusals(self):
        return [each for each in self.events if isinstance(each, Refuse)]


class Bench(Manager):
    """An SPMC's view: partitions of its own, and a gateway that speaks for the normal world."""

    elsewhere = frozenset()

    def __init__(self):
        memory = PhysicalMemory()
        memory.add("tables", TABLES, 256 * PAGE, secure=True)
        memory.add("ram", RAM, 8 * PAGES * PAGE, secure=False)
        pool = PagePool(memory, TABLES, 256)
        super().__init__(SimpleNamespace(memory=memory), pool, V1_3)
        self.peer = self.scheduler = Elsewhere(self)
        self.pe = PE(0, 0)
        self.tracer = Tracer()
        self.foreign = []
        self.forwarded = []
        self.signals = []
        self.lines = []
        self.bases = {}
        self.gateway = self._make(World, 0, "gateway", contexts=2)
        self.gateway.allow(PHYSICAL_CALLS, self.gateway.version)

    def _make(
        self, kind, number, name, *, contexts, version=V1_2, properties=EVERYTHING, **options
    ):
        stage2 = Stage2(self.memory, self.pool, vmid=number & 0xFF)
        base = self.bases[number] = RAM + len(self.bases) * PAGES * PAGE
        partition = kind(
            id=number,
            name=name,
            version=version,
            properties=properties,
            stage2=stage2,
            **options,
        )
        stage2.map(base, base, PAGES, RWX)
        partition.allow(CALLS, partition.version)
        partition.contexts = [ExecutionContext(partition, at, self) for at in range(contexts)]
        for ctx in partition.contexts:
            ctx.state = State.RUNNING
            ctx.model = Model.RUN
        return partition

    def add(self, number, *, contexts=2, secure=True, uuids=(), notified=True, **options):
        """A partition with id `number` that has all properties."""
        name = f"{'sp' if secure else 'vm'}{number & 0x7FFF}"
        uuids = [UUID(each) if isinstance(each, str) else each for each in uuids]
        self.partitions[number] = partition = self._make(
            Sp if secure else Vm,
            number,
            name,
            contexts=contexts,
            up=contexts == 1,
            uuids=uuids,
            **options,
        )
        if notified:
            notifications.enable(partition)
        return partition

    def give_mailbox(self, partition, pages=1):
        """Let `partition` map an RX/TX pair."""
        tx = self.bases[partition.id]
        self.ok(partition, fid.FFA_RXTX_MAP_64, tx, tx + pages * PAGE, pages)
        return partition.mailbox

    def call_with(self, who, *registers):
        """Make the call in `registers`, zeros up to x7 and POISON behind; x0 to x17 afterwards."""
        ctx = who if isinstance(who, ExecutionContext) else who.contexts[0]
        ctx.x[:] = [*registers, *[0] * (8 - len(registers))] + [POISON] * (
            18 - max(8, len(registers))
        )
        assert self.trap(self.pe, ctx, exits.SMC) is ctx
        return ctx.x

    def ok(self, who, *registers):
        """The answer to a call that succeeds."""
        x = self.call_with(who, *registers)
        assert x[0] in (fid.FFA_SUCCESS_32, fid.FFA_SUCCESS_64), self.last_refusal()
        return x

    def refused(self, who, *registers):
        """The id of the rule that refuses the call; the answer is an error of its status."""
        before = sum(self.refusals.values())
        x = self.call_with(who, *registers)
        assert sum(self.refusals.values()) == before + 1, "no rule refused the call"
        refusal = self.tracer.refusals[-1]
        assert x[0:2] == [fid.FFA_ERROR, 0]
        assert from_register(x[2]).name == refusal.status
        assert x[3:8] == [0] * 5
        return refusal.rule

    def last_refusal(self):
        """What was refused last, in words."""
        return str(self.tracer.refusals[-1]) if self.tracer.refusals else "nothing refused"

    def console(self, partition, text):
        self.lines.append((partition.name, text))


class Elsewhere:
    """The peer and the scheduler of a bench: they note what is asked of them."""

    def __init__(self, bench):
        self.bench = bench

    def has(self, endpoint):
        return not endpoint & 0x8000

    def speaks_for(self, partition, sender):
        return not sender & 0x8000 if partition.gateway else sender == partition.id

    def partitions(self, requester, *, in_registers):
        known = self.bench.foreign
        return known if in_registers else [each for each in known if each.id < 0xFFC0]

    def services(self, wanted):
        return []

    def mailbox_of(self, partition, sender):
        return partition.mailbox if sender == partition.id else None

    def mailbox_changed(self, pe, caller, *, mapped):
        return caller

    def rx_released(self, pe, caller):
        return caller

    def shares_rx(self, target):
        return False

    def send_message(self, pe, caller, message, *, delayed):
        self.bench.forwarded.append((message, delayed))
        return self.succeed(caller)

    def keeps_notifications(self, endpoint):
        return endpoint in self.bench.elsewhere

    def notification(self, pe, caller):
        self.bench.forwarded.append(caller.x[0:8])
        return self.succeed(caller)

    def relays(self, region):
        return False

    def succeed(self, caller):
        caller.x[0:8] = [fid.FFA_SUCCESS_32] + [0] * 7
        return caller

    def entering(self, pe, ctx):
        pass

    def yielded(self, pe, ctx):
        return ctx

    def notify(self, pe, state, vcpu, *, delayed):
        self.bench.signals.append((state.endpoint, vcpu, delayed))


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.memory.close()


@pytest.fixture(scope="module")
def one_bench():
    """For a file whose tests leave nothing behind that another one minds."""
    bench = Bench()
    yield bench
    bench.memory.close()


@pytest.fixture
def sp(bench):
    return bench.add(0x8001, uuids=["11111111-2222-3333-4444-555555555555"])


@pytest.fixture
def other(bench):
    return bench.add(0x8002, uuids=["aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"])
