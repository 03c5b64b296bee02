"""Any order of calls about mailboxes, against a model of who owns RX and what lies in it.

An endpoint's RX is its producer's until something is written there, and its own from then until it
releases it. The model knows no more of each endpoint than that, and what a reader must find.
"""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.messages import Message, build_message, parse_message
from ffabric.abi.ffa.rxtx import EndpointBuffers, build_endpoint_buffers
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_1, V1_2
from ffabric.abi.words import MASK32, PAGE
from ffabric.guests.errors import FfaError, status_of
from ffabric.session.ffa import Blocked
from ffabric.session.system import System
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, sp, vm

NOBODY = 0x7ABC
QUIET: dict[str, Any] = {"notification_support": False}
OLD: dict[str, Any] = {"ffa_version": V1_1, "messaging_method": 7, **QUIET}
MUTE: dict[str, Any] = {"messaging_method": 3, **QUIET}
RETAIN = 1

HEADER = {V1_1: 20}
"""Bytes before the payload, by version; 40 in all others."""

sizes = st.one_of(
    st.integers(0, 64), st.integers(PAGE - 48, PAGE + 8), st.integers(2 * PAGE - 48, 2 * PAGE)
)


class Pair:
    """The buffers of an endpoint: their addresses and size, who owns RX, and what is in it."""

    def __init__(self, tx, rx, pages):
        self.tx, self.rx, self.pages = tx, rx, pages
        self.mine = False
        """RX is its consumer's."""
        self.acquired = False
        """RX is the hypervisor's, who got it from the SPMC."""
        self.holds = None
        """What a consumer finds: (sender, payload), or a set of endpoints it may discover."""

    @property
    def size(self):
        return self.pages * PAGE

    @property
    def free(self):
        return not self.mine and not self.acquired


class Mailboxes(RuleBasedStateMachine):
    """What holds in every system."""

    def start(self, sps, vms, **described):
        self.system = boot(describe(sps=sps, vms=vms, **described))
        self.session = System(self.system)
        self.session.run()
        self.ends = {}
        self.alive = []
        self.id = {}
        self.version = {}
        self.pair = {}
        self.at = {}
        for endpoint in self.system.endpoints.values():
            find = self.session.sp if endpoint.spec.secure else self.session.vm
            self.comes(find(endpoint.name))
        self.marks = 0
        for number, _ in enumerate(self.alive):
            self.map(number, 0, 2, 1 + number % 2)

    def comes(self, end):
        """An endpoint takes part, so far without buffers."""
        name = end.endpoint.name
        self.ends[name] = end
        self.alive.append(name)
        self.id[name] = end.id
        self.version[name] = end.ffa.version
        self.pair[name] = None
        self.at[name] = end.ram.allocate(8)

    def teardown(self):
        self.session.close()

    def one(self, number):
        """Any endpoint that is alive."""
        return self.alive[number % len(self.alive)]

    def secure(self, name):
        return bool(self.id[name] & 0x8000)

    def attempt(self, name, allowed, *registers):
        """Make a call that must succeed if nothing is ``allowed``, or else fail with one of that.

        None if it failed.
        """
        x = self.ends[name].ffa.call(*registers)
        failed = x[0] & MASK32 == fid.FFA_ERROR
        status = status_of(x[2]) if failed else None
        assert status in (allowed or {None}), (name, registers, status, allowed)
        return None if failed else x

    def visible_to(self, name):
        """The endpoints that an endpoint discovers."""
        return {self.id[each] for each in self.alive if self.secure(each) or not self.secure(name)}

    numbers = st.integers(0, 11)

    @rule(number=numbers, tx=st.integers(0, 4), rx=st.integers(0, 4), pages=st.integers(0, 3))
    def remap(self, number, tx, rx, pages):
        self.map(number, tx, rx, pages)

    def map(self, number, tx, rx, pages):
        name = self.one(number)
        allowed = set()
        if self.pair[name] is not None:
            allowed.add(Status.DENIED)
        if abs(tx - rx) < pages or not pages:
            allowed.add(Status.INVALID_PARAMETERS)
        tx, rx = self.at[name] + tx * PAGE, self.at[name] + rx * PAGE
        if self.attempt(name, allowed, fid.FFA_RXTX_MAP_64, tx, rx, pages):
            self.pair[name] = Pair(tx, rx, pages)

    @rule(number=numbers, often=st.booleans())
    def unmap(self, number, often):
        name = self.one(number)
        if often and self.pair[name]:
            return
        allowed = set() if self.pair[name] else {Status.INVALID_PARAMETERS}
        self.attempt(name, allowed, fid.FFA_RXTX_UNMAP)
        self.pair[name] = None

    @rule(number=numbers)
    def lend_rx(self, number):
        """Nobody gives away what is shared with its manager."""
        name = self.one(number)
        pair = self.pair[name]
        if pair is None:
            return
        end = self.ends[name]
        other = next(each for each in self.alive if each != name and self.secure(each))
        buffers = end.ffa.buffers
        buffers.tx, buffers.rx, buffers.pages = pair.tx, pair.rx, pair.pages
        with pytest.raises(FfaError, match=r"DENIED|INVALID_PARAMETERS"):
            end.ffa.lend(self.id[other], ipa=pair.rx)

    @rule(number=numbers, count_only=st.sampled_from([0, 0, 0, 1]))
    def discover(self, number, count_only):
        name = self.one(number)
        pair = self.pair[name]
        allowed = set()
        if not count_only and pair is None:
            allowed.add(Status.DENIED)
        if not count_only and pair is not None and not pair.free:
            allowed.add(Status.BUSY)
        x = self.attempt(name, allowed, fid.FFA_PARTITION_INFO_GET, 0, 0, 0, 0, count_only)
        if x is None:
            return
        seen = self.visible_to(name)
        assert x[2] == len(seen)
        if not count_only:
            pair.mine, pair.holds = True, (x[3], seen)

    @rule(number=numbers)
    def release(self, number):
        name = self.one(number)
        pair = self.pair[name]
        allowed = set() if pair and pair.mine else {Status.DENIED}
        if self.attempt(name, allowed, fid.FFA_RX_RELEASE):
            pair.mine = False

    @rule(number=numbers, flags=st.sampled_from([0, RETAIN, RETAIN]))
    def wait(self, number, flags):
        """FFA_MSG_WAIT releases RX, unless its caller is new enough to say that it keeps it."""
        name = self.one(number)
        if self.id[name] == 0:  # nobody schedules the kernel
            return
        with suppress(Blocked):
            self.ends[name].ffa.call(fid.FFA_MSG_WAIT, 0, flags)
        pair = self.pair[name]
        if pair and not (flags & RETAIN and self.version[name] >= V1_2):
            pair.mine = False

    @rule(sender=numbers, to=numbers, size=sizes, known=st.sampled_from([True] * 9 + [False]))
    def send(self, sender, to, size, known):
        name, receiver = self.one(sender), self.one(to)
        pair = self.pair[name]
        header = HEADER.get(self.version[name], 40)
        if pair is not None:
            size = min(size, pair.size - header)
            message = Message(
                self.id[name], self.id[receiver] if known else NOBODY, self.fresh(size)
            )
            self.put(name, pair, message, self.version[name])
        allowed = (
            self.why_not_send(name, receiver, size)
            if known
            else {Status.INVALID_PARAMETERS, Status.DENIED}
        )
        if self.attempt(name, allowed, fid.FFA_MSG_SEND2):
            self.arrive(self.pair[receiver], self.id[name])

    def fresh(self, size):
        """A payload that has not been sent yet."""
        self.marks += 1
        self.payload = (self.marks.to_bytes(4, "little") * (size // 4 + 1))[:size]
        return self.payload

    def put(self, name, pair, message, version=V1_2):
        """Write a message into TX."""
        self.ends[name].memory.write(pair.tx, build_message(message, version))

    def arrive(self, pair, sender):
        assert pair.free
        pair.mine, pair.holds = True, (sender, self.payload)

    def why_not_send(self, name, receiver, size):
        """The statuses with which a message may be refused."""
        refused = set()
        if self.pair[name] is None or not self.sends(name) or not self.sends(receiver):
            refused.add(Status.DENIED)
        if name == receiver:
            refused.add(Status.INVALID_PARAMETERS)
        return refused | self.why_not_deliver(
            self.pair[receiver], self.header(name, receiver) + size
        )

    def header(self, sender, receiver):
        """The header is as its reader knows it; the SPMC does not know what a VM knows."""
        if self.secure(sender) and not self.secure(receiver):
            return 40
        return HEADER.get(self.version[receiver], 40)

    def why_not_deliver(self, pair, length):
        refused = set()
        if pair is None:
            refused.add(Status.DENIED)
        elif not pair.free:
            refused.add(Status.BUSY)
        if pair is not None and length > pair.size:
            refused.add(Status.NO_MEMORY)
        return refused

    def sends(self, name):
        return name != "mute"

    @invariant()
    def what_is_in_rx_stays_until_it_is_released(self):
        for name in self.alive:
            pair = self.pair[name]
            if pair and pair.mine:
                self.check(self.ends[name].memory, pair, self.version[name])

    def check(self, memory, pair, version):
        data = memory.read(pair.rx, pair.size)
        number, what = pair.holds
        if isinstance(what, set):
            found = info.parse_partition_info(data, len(what), number)
            assert {each.id for each in found} == what
        else:
            got = parse_message(data, version)
            assert (got.sender, got.payload) == (number, what)


class UnderAHypervisor(Mailboxes):
    """Two managers write into the RX of a VM."""

    def __init__(self):
        super().__init__()
        self.start(
            sps=[sp("s", **QUIET), sp("t", **OLD)],
            vms=[vm("v", **QUIET), vm("w", **OLD), vm("mute", **MUTE)],
        )

    @property
    def gone(self):
        """Ids that are nobody's now."""
        return {*self.id.values()} - {self.id[each] for each in self.alive}

    def calm(self):
        """No SP holds up what happens from outside."""
        for each in self.alive:
            if (
                self.secure(each)
                and self.ends[each].endpoint.partition.contexts[0].runner.in_control
            ):
                self.wait(self.alive.index(each), RETAIN)

    @rule(number=Mailboxes.numbers, really=st.sampled_from([False] * 9 + [True]))
    def destroy(self, number, really):
        name = self.one(number)
        if not really or self.secure(name):
            return
        self.calm()
        self.alive.remove(name)
        self.system.destroy_vm(name)
        self.session.run()

    @rule(soon=st.booleans())
    def create(self, soon):
        """A VM comes, maybe with the id of a dead one, and finds nothing of that one's."""
        if "x" in self.alive:
            return
        self.calm()
        if soon:
            self.system.hypervisor.vm_ids.begin_again()
        self.comes(self.session.create_vm(vm("x", **QUIET)))

    @rule(sender=Mailboxes.numbers, name=st.sampled_from(["v", "w", "mute", "x"]))
    def send_to_the_dead(self, sender, name):
        if name in self.alive or self.id.get(name) not in self.gone:
            return
        sender = self.one(sender)
        pair = self.pair[sender]
        if pair is None:
            return
        message = Message(self.id[sender], self.id[name])
        self.put(sender, pair, message, self.version[sender])
        self.attempt(sender, {Status.DENIED, Status.INVALID_PARAMETERS}, fid.FFA_MSG_SEND2)


class UnderAKernel(Mailboxes):
    """A kernel at EL2 has VMs of its own and describes their buffers to the SPMC."""

    VMS = (1, 2)

    def __init__(self):
        super().__init__()
        self.start(
            sps=[sp("s", **QUIET), sp("t", **OLD)], vms=[vm("k", el=2, **QUIET)], hypervisor=False
        )
        self.vms = dict.fromkeys(self.VMS)
        self.room = {number: self.ends["k"].ram.allocate(4) for number in self.VMS}

    def visible_to(self, name):
        return {self.id[each] for each in self.alive if self.secure(each)}

    guests = st.sampled_from(VMS)

    @rule(guest=guests, pages=st.integers(1, 2))
    def map_for(self, guest, pages):
        at = self.room[guest]
        rx, tx = at, at + 2 * PAGE
        own = self.pair["k"]
        allowed = set()
        if own is None or self.vms[guest] is not None:
            allowed.add(Status.DENIED)
        if own is not None:
            buffers = EndpointBuffers(guest, [(rx, pages)], [(tx, pages)])
            self.ends["k"].memory.write(own.tx, build_endpoint_buffers(buffers))
        if self.attempt("k", allowed, fid.FFA_RXTX_MAP_64):
            self.vms[guest] = Pair(tx, rx, pages)

    @rule(guest=guests, often=st.booleans())
    def unmap_for(self, guest, often):
        pair = self.vms[guest]
        if often and pair:
            return
        allowed = set() if pair else {Status.INVALID_PARAMETERS}
        self.attempt("k", allowed, fid.FFA_RXTX_UNMAP, guest << 16)
        self.vms[guest] = None

    @rule(guest=guests)
    def acquire(self, guest):
        pair = self.vms[guest]
        allowed = set()
        if pair is None:
            allowed.add(Status.INVALID_PARAMETERS)
        elif not pair.free:
            allowed.add(Status.DENIED)
        if self.attempt("k", allowed, fid.FFA_RX_ACQUIRE, guest):
            pair.acquired = True

    @rule(guest=guests)
    def release_for(self, guest):
        pair = self.vms[guest]
        allowed = set()
        if pair is None:
            allowed.add(Status.INVALID_PARAMETERS)
        elif pair.free:
            allowed.add(Status.DENIED)
        if self.attempt("k", allowed, fid.FFA_RX_RELEASE, guest):
            pair.acquired = pair.mine = False

    @rule(guest=guests, to=Mailboxes.numbers, size=sizes)
    def send_for(self, guest, to, size):
        receiver = self.one(to)
        pair = self.vms[guest]
        if pair is not None:
            size = min(size, pair.size - 40)
            self.put("k", pair, Message(guest, self.id[receiver], self.fresh(size)))
        refused = self.why_not_deliver(
            self.pair[receiver], HEADER.get(self.version[receiver], 40) + size
        )
        if pair is None:
            refused.add(Status.DENIED)
        if receiver == "k":  # as above
            refused.add(Status.INVALID_PARAMETERS)
        if self.attempt("k", refused, fid.FFA_MSG_SEND2, guest << 16):
            self.arrive(self.pair[receiver], guest)

    @rule(guest=guests, sender=Mailboxes.numbers, size=sizes)
    def send_to(self, guest, sender, size):
        name = self.one(sender)
        pair = self.pair[name]
        if pair is not None:
            size = min(size, pair.size - HEADER.get(self.version[name], 40))
            message = Message(self.id[name], guest, self.fresh(size))
            self.put(name, pair, message, self.version[name])
        refused = self.why_not_deliver(self.vms[guest], 40 + size)
        if pair is None:
            refused.add(Status.DENIED)
        if name == "k":  # the SPMC passes nothing on from VM to VM
            refused.add(Status.INVALID_PARAMETERS)
        if self.attempt(name, refused, fid.FFA_MSG_SEND2):
            self.arrive(self.vms[guest], self.id[name])

    @invariant()
    def what_is_in_a_guests_rx_stays(self):
        for pair in self.vms.values():
            if pair and pair.mine:
                self.check(self.ends["k"].memory, pair, V1_2)


TestUnderAHypervisor = UnderAHypervisor.TestCase
TestUnderAKernel = UnderAKernel.TestCase
TestUnderAHypervisor.settings = TestUnderAKernel.settings = settings(
    max_examples=max(100, settings.default.max_examples)
)
