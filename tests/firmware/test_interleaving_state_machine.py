"""Any order of calls on two PEs, into which anything may burst from outside.

The steps are those of the fuzzer's scenarios (`lab/fuzz/injection/cues.py`) and its events: VMs
that come and go at any moment, while an SP has the PE, while fragments are under way, while SPs are
told of them; crashes, interrupts, ends of time slices. Its judges look at the stage-2 tables after
each, and at the end everybody finishes and gives back what is left: nobody waits for ever, and
nothing is lost. What goes wrong is shrunk to the steps that matter.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, multiple, rule

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory_words as mem
from ffabric.lab.fuzz.events import DEADLY, EDGE, EVENTS, LEVEL
from ffabric.lab.fuzz.injection import cues
from ffabric.lab.fuzz.injection.cues import Sent
from ffabric.lab.fuzz.injection.scenarios import HYPERVISOR, KERNEL, Company, prologue
from ffabric.lab.fuzz.settlement import Settlement
from ffabric.lab.fuzz.stage import Stage

PAGES = 12
"""Pages of each endpoint that are given around."""

anybody = st.integers(0, 11)
pages = st.lists(st.integers(0, PAGES - 1), min_size=1, max_size=4, unique=True)
flags = st.sampled_from([0, 0, 0, mem.FLAG_CLEAR])


class Interleavings(RuleBasedStateMachine):
    """What may happen in every system."""

    spec = HYPERVISOR
    sent = Bundle("sent")

    def __init__(self):
        super().__init__()
        self.stage = Stage(self.spec, [each.name for each in self.spec.partitions], seed=1)
        self.waiting = {}
        """What is still to be sent of what is sent in fragments, by handle."""
        script = prologue(Company(self.stage))
        cue = next(script)
        while cue is not None:
            self.perform(cue)
            try:
                cue = script.send([0] * 18)
            except StopIteration:
                break

    def teardown(self):
        with self.stage:
            Settlement(self.stage).settle()

    def one(self, number):
        """Any vCPU that is there."""
        return self.stage.actors[number % len(self.stage.actors)]

    def perform(self, cue):
        """Make the call if its vCPU can get a PE; the registers that it has then."""
        actor = cue.actor
        if not actor.ready():
            return [0] * 18
        actor.put(cue.tx)
        actor.call(cue.registers or (actor.response if actor.serves else [fid.FFA_MSG_WAIT]))
        answer = [*actor.x]
        self.stage.check()
        return answer

    # Memory

    @rule(
        target=sent,
        kind=st.sampled_from([*cues.KINDS]),
        owner=anybody,
        to=st.lists(anybody, min_size=1, max_size=3),
        numbers=pages,
        clear=flags,
        first=st.sampled_from([None, None, 1]),
    )
    def send(self, *, kind, owner, to, numbers, clear, first):
        owner = self.one(owner)
        to = [*{self.one(each).id: self.one(each) for each in to}.values()]
        first = first if len(numbers) > 1 else None
        cue = cues.send(kind, owner, to, numbers, flags=clear, first=first)
        x = self.perform(cue)
        if x[0] not in (fid.FFA_SUCCESS_32, fid.FFA_MEM_FRAG_RX):
            return multiple()
        sent = Sent(kind, owner, to, cues.handle_of(x))
        if first:
            self.waiting[sent.handle] = numbers[first:]
        return sent

    @rule(sent=sent, by=anybody, cut=st.integers(1, 3))
    def send_on(self, sent, by, cut):
        numbers = self.waiting.get(sent.handle, [0])
        actor = sent.owner if by % 3 else self.one(by)
        x = self.perform(cues.fragment(actor, sent, numbers[:cut]))
        if x[0] == fid.FFA_MEM_FRAG_RX:
            self.waiting[sent.handle] = numbers[cut:]

    @rule(sent=sent, by=anybody, clear=st.sampled_from([0, 0, 0, mem.FLAG_CLEAR_RELINQUISH]))
    def retrieve(self, sent, by, clear):
        actor = sent.to[by % len(sent.to)] if by % 4 else self.one(by)
        x = self.perform(cues.retrieve(actor, sent, clear))
        if x[0] == fid.FFA_MEM_RETRIEVE_RESP:
            self.perform(cues.release(actor))

    @rule(sent=sent, by=anybody, clear=flags)
    def relinquish(self, sent, by, clear):
        actor = sent.to[by % len(sent.to)] if by % 4 else self.one(by)
        self.perform(cues.relinquish(actor, sent, clear))

    @rule(sent=sent, by=anybody, clear=flags)
    def reclaim(self, sent, by, clear):
        self.perform(cues.reclaim(sent.owner if by % 4 else self.one(by), sent, clear))

    # Cycles

    @rule(by=anybody, to=anybody, nonce=st.integers(1, 0xFFFF))
    def ask(self, by, to, nonce):
        self.perform(cues.ask(self.one(by), self.one(to), nonce))

    @rule(by=anybody)
    def answer(self, by):
        self.perform(cues.answer(self.one(by)))

    @rule(by=anybody, to=anybody)
    def run(self, by, to):
        self.perform(cues.run(self.one(by), self.one(to)))

    @rule(by=anybody)
    def yield_(self, by):
        self.perform(cues.yield_(self.one(by)))

    # Signals and messages

    @rule(by=anybody, sender=anybody, bit=st.integers(0, 3))
    def bind(self, by, sender, bit):
        self.perform(cues.bind(self.one(by), self.one(sender), 1 << bit))

    @rule(by=anybody, to=anybody, bit=st.integers(0, 3))
    def notify(self, by, to, bit):
        self.perform(cues.notify(self.one(by), self.one(to), 1 << bit))

    @rule(by=anybody)
    def get(self, by):
        self.perform(cues.get(self.one(by)))

    @rule(by=anybody, to=anybody)
    def message(self, by, to):
        self.perform(cues.message(self.one(by), self.one(to)))

    @rule(by=anybody, mapped=st.booleans())
    def buffers(self, by, mapped):
        actor = self.one(by)
        unmap = cues.plain(actor, fid.FFA_RXTX_UNMAP)
        self.perform(cues.map_buffers(actor) if mapped else unmap)

    @rule(by=anybody, intid=st.sampled_from([EDGE, LEVEL]))
    def handle_interrupt(self, by, intid):
        actor = self.one(by)
        self.perform(cues.plain(actor, hafnium.HF_INTERRUPT_GET))
        self.perform(cues.plain(actor, hafnium.HF_INTERRUPT_DEACTIVATE, intid, intid))

    # From outside

    @rule(event=st.sampled_from([name for name in EVENTS if name not in DEADLY]))
    def happen(self, event):
        EVENTS[event](self.stage)
        self.stage.check()

    @rule(event=st.sampled_from(sorted(DEADLY)), really=st.sampled_from([False] * 4 + [True]))
    def die(self, event, really):
        if really:
            self.happen(event)


class UnderAKernel(Interleavings):
    """The same calls of a kernel that has no hypervisor above it, and PEs that go off."""

    spec = KERNEL


TestUnderAHypervisor = Interleavings.TestCase
TestUnderAKernel = UnderAKernel.TestCase
TestUnderAHypervisor.settings = TestUnderAKernel.settings = settings(
    max_examples=max(60, settings.default.max_examples)
)
