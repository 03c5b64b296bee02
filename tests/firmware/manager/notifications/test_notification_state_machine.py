"""Any order of notification calls, against a model of what each receiver has bound and pending.

The model keeps a bitmap as a set of bits, and for each bit who may set it, where it is pending, and
whether the scheduler was told. It knows neither managers nor registers.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import notifications as abi
from ffabric.abi.ffa.messages import Message, build_message
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_2
from ffabric.abi.words import MASK32, halves, join
from ffabric.guests.errors import status_of
from ffabric.session.system import System
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.manifest.manifest import NsInterruptsAction

INVALID, DENIED = Status.INVALID_PARAMETERS, Status.DENIED
NOBODY = "nobody"
IDS = {NOBODY: 0x7ABC, "no sp": 0xFABC}
GLOBAL = None
PER_VCPU, DELAY = abi.PER_VCPU, abi.DELAY_SCHEDULE_RECEIVER
SPM, HYPERVISOR = "SPM", "hypervisor"
UNINTERRUPTED: dict[str, Any] = {"ns_interrupts_action": NsInterruptsAction.QUEUED}
"""A driven SP keeps the PE until its call has returned."""

bits = st.sets(st.sampled_from([0, 1, 31, 32, 63]), min_size=0, max_size=3)
numbers = st.integers(0, 11)
vcpus = st.sampled_from([0, 0, 0, 1, 1, 2])
sometimes = st.sampled_from([False, False, False, True])


class Bitmap:
    """The notifications that a receiver gets of one world."""

    def __init__(self):
        self.bound = {}
        """Bit -> (sender, whether it is of single vCPUs)."""
        self.pending = {}
        """(bit, vCPU or GLOBAL) -> whether the scheduler was told."""

    def pends(self, wanted):
        return any(bit in wanted for bit, _ in self.pending)

    def set(self, wanted, vcpu):
        for bit in wanted:
            self.pending.setdefault((bit, vcpu), False)

    def get(self, vcpu):
        taken = {key for key in self.pending if key[1] in (GLOBAL, vcpu)}
        for key in taken:
            del self.pending[key]
        return {bit for bit, _ in taken}


class Receiver:
    """What is kept for an endpoint that receives notifications."""

    def __init__(self, vcpus):
        self.vcpus = vcpus
        self.of = {"SP": Bitmap(), "VM": Bitmap(), SPM: Bitmap(), HYPERVISOR: Bitmap()}

    def untold(self):
        """The vCPUs for which the scheduler has to be told of something; None if there is none."""
        keys = {
            key[1]
            for bitmap in self.of.values()
            for key, told in bitmap.pending.items()
            if not told
        }
        return keys - {GLOBAL} if keys else None

    def tell(self):
        for bitmap in self.of.values():
            bitmap.pending = dict.fromkeys(bitmap.pending, True)


class Notifications(RuleBasedStateMachine):
    """What holds in every system: ``names`` are parties that bind, set and get."""

    def start(self, sps, vms, **described):
        self.system = boot(describe(sps=sps, vms=vms, pes=2, **described))
        self.session = System(self.system)
        self.session.run()
        self.ends = {}
        self.id = {**IDS}
        self.names = []
        self.receivers = {}
        self.full = {}
        for endpoint in self.system.endpoints.values():
            find = self.session.sp if endpoint.spec.secure else self.session.vm
            self.comes(find(endpoint.name))

    def comes(self, end):
        """An endpoint takes part."""
        name = end.endpoint.name
        self.ends[name] = end
        self.id[name] = end.id
        self.names.append(name)
        if end.endpoint.spec.manifest.notification_support:
            self.receivers[name] = Receiver(end.endpoint.spec.vcpus)
        self.full[name] = False
        end.ffa.map_buffers()

    def bind_some(self):
        """Each binds something of all: without that little could be set."""
        for receiver in self.names:
            for number, sender in enumerate(self.names):
                self.try_bind(receiver, sender, {(0, 1, 31, 32, 63)[number]}, bool(number % 2))

    def teardown(self):
        self.session.close()

    def name(self, number):
        return self.names[number % len(self.names)]

    def anybody(self, number):
        """Mostly somebody who is there."""
        return NOBODY if number == 11 else "no sp" if number == 10 else self.name(number)

    def secure(self, name):
        return bool(self.id[name] & 0x8000)

    def caller(self, name):
        """Who makes the calls of a party."""
        return self.ends[name]

    def attempt(self, name, refused, *registers):
        """Make a call that must succeed if it is not to be ``refused`` with one of that.

        None if it failed.
        """
        x = self.caller(name).ffa.call(*registers)
        failed = x[0] & MASK32 == fid.FFA_ERROR
        status = status_of(x[2]) if failed else None
        assert status in (refused or {None}), (name, [hex(each) for each in registers])
        return None if failed else x

    def bitmap(self, receiver, sender):
        """Where the bits are that ``sender`` may set; None if the receiver takes none."""
        found = self.receivers.get(receiver)
        return found and found.of["SP" if self.secure(sender) else "VM"]

    def forget(self, name):
        """Somebody else may have its endpoint ID one day: nobody lets it notify them any more."""
        for receiver in self.receivers.values():
            bitmap = receiver.of["VM"]
            bitmap.bound = {bit: to for bit, to in bitmap.bound.items() if to[0] != name}

    def why_not_bind(self, receiver, sender, wanted):
        refused = set()
        if not wanted or sender in (receiver, "no sp"):
            refused.add(INVALID)
        if sender not in self.names and not self.secure(receiver):
            refused.add(INVALID)
        bitmap = self.bitmap(receiver, sender)
        if bitmap is None:
            refused.add(Status.NOT_SUPPORTED)
        elif bitmap.pends(wanted):
            refused.add(DENIED)
        return refused

    @rule(who=numbers, sender=numbers, wanted=bits, per_vcpu=sometimes, other=numbers)
    def bind(self, *, who, sender, wanted, per_vcpu, other):
        receiver = self.name(who)
        wanted = wanted or self.bound_to(self.anybody(other), receiver)
        self.try_bind(receiver, self.anybody(sender), wanted, per_vcpu)

    def bound_to(self, sender, receiver):
        """All that a sender may set."""
        bitmap = self.bitmap(receiver, sender)
        return {bit for bit, to in bitmap.bound.items() if to[0] == sender} if bitmap else set()

    def try_bind(self, receiver, sender, wanted, per_vcpu):
        refused = self.why_not_bind(receiver, sender, wanted)
        bitmap = self.bitmap(receiver, sender)
        if bitmap and any(bitmap.bound.get(bit, (sender,))[0] != sender for bit in wanted):
            refused.add(DENIED)
        flags = PER_VCPU if per_vcpu else 0
        if self.attempt(receiver, refused, *self.binding(True, sender, receiver, wanted, flags)):
            bitmap.bound |= dict.fromkeys(wanted, (sender, per_vcpu))

    @rule(who=numbers, sender=numbers, wanted=bits)
    def unbind(self, who, sender, wanted):
        receiver, sender = self.name(who), self.anybody(sender)
        wanted = wanted or self.bound_to(sender, receiver)
        refused = self.why_not_bind(receiver, sender, wanted)
        bitmap = self.bitmap(receiver, sender)
        if bitmap and any(bitmap.bound.get(bit, ("",))[0] != sender for bit in wanted):
            refused.add(DENIED)
        if self.attempt(receiver, refused, *self.binding(False, sender, receiver, wanted)):
            for bit in wanted:
                del bitmap.bound[bit]

    def binding(self, on, sender, receiver, wanted, flags=0):
        function = fid.FFA_NOTIFICATION_BIND if on else fid.FFA_NOTIFICATION_UNBIND
        return function, self.id[sender] << 16 | self.id[receiver], flags, *words_of(wanted)

    @rule(who=numbers, to=numbers, wanted=bits, per_vcpu=sometimes, vcpu=vcpus, bound=st.booleans())
    def set(self, *, who, to, wanted, per_vcpu, vcpu, bound):
        sender, receiver = self.name(who), self.anybody(to)
        bitmap = self.bitmap(receiver, sender)
        if bound and bitmap:  # all that it may set of one kind
            wanted = {bit for bit, to in bitmap.bound.items() if to == (sender, per_vcpu)}
        refused = set()
        if not wanted or sender == receiver or receiver not in self.names:
            refused.add(INVALID)
        if vcpu and not per_vcpu:
            refused.add(INVALID)
        if bitmap is None:
            refused |= {INVALID, DENIED}
        else:
            kinds = [bitmap.bound.get(bit, ("", None)) for bit in wanted]
            if any(who != sender for who, _ in kinds):
                refused.add(DENIED)
            if any(kind != per_vcpu for who, kind in kinds if who == sender):
                refused.add(INVALID)
            if per_vcpu and vcpu >= self.receivers[receiver].vcpus:
                refused.add(INVALID)
        refused |= self.why_not_notify(sender, receiver)
        flags = vcpu << 16 | (PER_VCPU if per_vcpu else 0) | (DELAY if self.secure(sender) else 0)
        ids = self.id[sender] << 16 | self.id[receiver]
        call = fid.FFA_NOTIFICATION_SET, ids, flags, *words_of(wanted)
        if self.attempt(sender, refused, *call):
            bitmap.set(wanted, vcpu if per_vcpu else GLOBAL)

    def why_not_notify(self, sender, receiver):
        return set()

    @rule(who=numbers, vcpu=vcpus, flags=st.sampled_from([0b1111, 0b1111, 0b0101, *range(16)]))
    def get(self, who, vcpu, flags):
        receiver = self.name(who)
        state = self.receivers.get(receiver)
        refused = self.why_not_get(receiver, flags)
        if state and vcpu >= state.vcpus:
            refused.add(INVALID)
        ids = vcpu << 16 | self.id[receiver]
        x = self.attempt(receiver, refused, fid.FFA_NOTIFICATION_GET, ids, flags)
        if x is None:
            return
        got = [join(*x[at : at + 2]) for at in (2, 4, 6)]
        expected = [set(), set(), set()]
        if state:
            for at, kind in self.asked(receiver, flags):
                expected[at] |= state.of[kind].get(vcpu)
        assert got == [sum(1 << bit for bit in each) for each in expected]

    def why_not_get(self, receiver, flags):
        return set()

    def asked(self, receiver, flags):
        """(which of the three bitmaps in the answer, what is in it) for each flag.

        Who asks for the SPM's framework notifications gets the hypervisor's too, an SP also the
        other way round.
        """
        if flags & abi.GET_FROM_SP:
            yield 0, "SP"
        if flags & abi.GET_FROM_VM:
            yield 1, "VM"
        framework = flags & (abi.GET_FROM_SPM | abi.GET_FROM_HYPERVISOR)
        if flags & abi.GET_FROM_SPM or (framework and self.secure(receiver)):
            yield 2, SPM
        if framework:
            yield 2, HYPERVISOR

    @rule(smc64=st.booleans())
    def ask_whom_to_schedule(self, smc64):
        """Until nobody is left: each is told of once."""
        untold = {self.id[name]: each.untold() for name, each in self.receivers.items()}
        untold = {endpoint: keys for endpoint, keys in untold.items() if keys is not None}
        function = fid.FFA_NOTIFICATION_INFO_GET_64 if smc64 else fid.FFA_NOTIFICATION_INFO_GET_32
        told = {}
        more = True
        while more or len(told) < len(untold):
            refused = set() if more and untold else {Status.NO_DATA}
            x = self.attempt(self.scheduler, refused, function)  # type: ignore[attr-defined]
            if x is None:
                break
            answer = abi.parse_pending(x[2:8], smc64=smc64)
            for each in answer.lists:
                told.setdefault(each.endpoint, set()).update(each.vcpus)
            more = answer.more
        assert told == untold
        for receiver in self.receivers.values():
            receiver.tell()
        assert self.attempt(self.scheduler, {Status.NO_DATA}, function) is None  # type: ignore[attr-defined]

    @rule(who=numbers, to=numbers)
    def message(self, who, to):
        """The framework notifies a receiver of a message in its RX."""
        sender, receiver = self.name(who), self.name(to)
        if sender not in self.ends or receiver not in self.ends:
            return
        ffa = self.ends[sender].ffa
        data = build_message(Message(self.id[sender], self.id[receiver]), V1_2)
        self.ends[sender].memory.write(ffa.tx, data)
        refused = {INVALID} if sender == receiver else set()
        if self.full[receiver]:
            refused.add(Status.BUSY)
        flags = DELAY if self.secure(sender) else 0
        if self.attempt(sender, refused, fid.FFA_MSG_SEND2, 0, flags) is None:
            return
        self.full[receiver] = True
        if receiver in self.receivers:
            kind, bit = (SPM, 0) if self.secure(sender) else (HYPERVISOR, 32)
            self.receivers[receiver].of[kind].set({bit}, GLOBAL)

    @rule(who=numbers)
    def release(self, who):
        name = self.name(who)
        if name in self.ends:
            self.attempt(name, set() if self.full[name] else {DENIED}, fid.FFA_RX_RELEASE)
            self.full[name] = False


def words_of(wanted):
    """A set of bits as two registers."""
    return halves(sum(1 << bit for bit in wanted))


class UnderAHypervisor(Notifications):
    """Both managers keep notifications of VMs; one VM is the scheduler."""

    scheduler = "v"

    def __init__(self):
        super().__init__()
        two: dict[str, Any] = {"execution_ctx_count": 2}
        self.start(
            sps=[sp("s", **two, **UNINTERRUPTED), sp("t", **UNINTERRUPTED)],
            vms=[
                vm("v", has_primary_scheduler=True),
                vm("w", **two),
                vm("n", notification_support=False),
            ],
        )
        self.bind_some()

    @rule(vcpus=st.integers(1, 2), really=sometimes)
    def create(self, vcpus, really):
        """A VM comes: nobody has bound anything to it, and it has nothing pending."""
        if really and "x" not in self.names:
            self.comes(self.session.create_vm(vm("x", execution_ctx_count=vcpus)))

    @rule(name=st.sampled_from(["w", "n", "x"]), really=sometimes)
    def destroy(self, name, really):
        """A VM goes: what it has set stays, and nobody waits for more of it."""
        if not really or name not in self.names:
            return
        self.names.remove(name)
        del self.ends[name]
        self.receivers.pop(name, None)
        self.forget(name)
        self.system.destroy_vm(name)
        self.session.run()


class UnderAKernel(Notifications):
    """A kernel at EL2 makes the calls for itself and a VM of its own; the SPMC keeps all of it."""

    scheduler = "k"
    GUEST = 5

    def __init__(self):
        super().__init__()
        self.start(
            sps=[sp("s", execution_ctx_count=2, **UNINTERRUPTED), sp("t", **UNINTERRUPTED)],
            vms=[vm("k", el=2)],
            hypervisor=False,
        )
        self.id["guest"] = self.GUEST
        self.names.append("guest")
        del self.receivers["k"]
        self.create("k", 1)
        self.create("guest", 2)
        self.bind_some()

    def caller(self, name):
        return self.ends["k" if name == "guest" else name]

    def why_not_bind(self, receiver, sender, wanted):
        refused = super().why_not_bind(receiver, sender, wanted)
        if not self.secure(receiver) and not self.secure(sender):
            refused.add(INVALID)
        return refused

    def why_not_notify(self, sender, receiver):
        return {INVALID} if not self.secure(sender) and not self.secure(receiver) else set()

    def why_not_get(self, receiver, flags):
        from_normal_world = flags & (abi.GET_FROM_VM | abi.GET_FROM_HYPERVISOR)
        return {INVALID} if from_normal_world and not self.secure(receiver) else set()

    @rule(name=st.sampled_from(["k", "guest"]), vcpus=st.integers(0, 3))
    def create(self, name, vcpus):
        refused = set()
        if not vcpus:
            refused.add(INVALID)
        if name in self.receivers:
            refused.add(DENIED)
        call = fid.FFA_NOTIFICATION_BITMAP_CREATE, self.id[name], vcpus
        if self.attempt("k", refused, *call):
            self.receivers[name] = Receiver(vcpus)

    @rule(name=st.sampled_from(["k", "guest"]), really=sometimes)
    def destroy(self, name, really):
        state = self.receivers.get(name)
        if state and not really:
            return
        refused = set()
        if state is None or any(each.pending for each in state.of.values()):
            refused.add(DENIED)
        if self.attempt("k", refused, fid.FFA_NOTIFICATION_BITMAP_DESTROY, self.id[name]):
            del self.receivers[name]
            if name == "guest":
                self.forget(name)


TestUnderAHypervisor = UnderAHypervisor.TestCase
TestUnderAKernel = UnderAKernel.TestCase
TestUnderAHypervisor.settings = TestUnderAKernel.settings = settings(
    max_examples=max(100, settings.default.max_examples)
)
