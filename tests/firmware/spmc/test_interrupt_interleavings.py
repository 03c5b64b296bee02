"""Whatever SPs, a VM and devices do, in whatever order: no interrupt is lost, none comes twice."""

from collections import Counter
from contextlib import suppress
from types import SimpleNamespace

import pytest
from chain_sides import REQ, RESP, message
from hypothesis import example, given, settings
from hypothesis import strategies as st
from interrupt_sides import BLOCKED, EDGE, LEVEL, PREEMPTED, RUNNING, WAITING, Rig

from ffabric.abi import hafnium
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.spmc import interrupts
from ffabric.session.ffa import Blocked
from ffabric.system.manifest.manifest import NsInterruptsAction

ACTIONS = dict(
    zip(
        "abcd",
        (
            NsInterruptsAction.SIGNALED,
            NsInterruptsAction.MANAGED_EXIT,
            NsInterruptsAction.SIGNALED,
            NsInterruptsAction.QUEUED,
        ),
        strict=True,
    )
)
PATIENCE = 200
NUMBER = st.integers(0, 3)
EVENTS = st.one_of(
    st.tuples(st.just("device"), NUMBER),
    st.tuples(st.just("non-secure"), st.just(0)),
    st.tuples(st.sampled_from(["ask", "run"]), NUMBER),
    st.tuples(st.sampled_from(["handle", "answer", "wait", "yield", "look"]), st.just(0)),
)


class World(Rig):
    """Four SPs with different wishes, and what a test counts."""

    def __init__(self, kind):
        options = {name: {"ns_interrupts_action": action} for name, action in ACTIONS.items()}
        super().__init__(SimpleNamespace(seed=None, _systems=[]), kind, **options)
        self.kind = kind
        self.raised = Counter()
        self.taken = Counter()
        self.wanted = set()

    def begin(self):
        """Count anew."""
        self.raised.clear()
        self.taken.clear()
        assert not self.wanted

    def event(self, what, which):
        """Let one thing happen."""
        server = self.servers[which]
        if what == "device":
            self.raised[server.intid] += 1
            self.wanted.add(server.intid)
            if self.kind == EDGE:
                self.gic.set_pending(server.intid)
            else:
                self.gic.set_level(server.intid, True)
        elif what == "non-secure":
            self.raise_non_secure()
        else:
            self.act(self.in_control(), what, server)

    def act(self, link, what, other):
        """Let whoever has the PE do something, allowed or not."""
        if what == "handle":
            if link is not self.v:
                self.handle(link)
        elif what == "answer":
            if link.ctx.request:
                self.call(link, *self.response(link))
        elif what == "ask":
            self.call(link, *message(link, other, (), REQ))
        else:
            calls = {"run": fid.FFA_RUN, "wait": fid.FFA_MSG_WAIT, "yield": fid.FFA_YIELD}
            if link is not self.v or what == "run":
                self.call(link, calls.get(what, fid.FFA_ID_GET), other.word * (what == "run"))
        self.check()

    def call(self, link, *registers):
        """A call that may return or not."""
        with suppress(Blocked):
            link.call(*registers)

    def response(self, link):
        """The response that ``link`` owes."""
        return RESP, link.id << 16 | link.ctx.sender

    def handle(self, link):
        """Take all interrupts that are pending."""
        for _ in range(PATIENCE):
            self.call(link, hafnium.HF_INTERRUPT_GET)
            intid = link.x[0]
            if intid == hafnium.INVALID_INTID:
                return
            if intid == link.intid:
                self.taken[intid] += 1
                self.wanted.discard(intid)
                self.gic.set_level(intid, False)
            if not link.has_control:
                return
            self.call(link, hafnium.HF_INTERRUPT_DEACTIVATE, intid, intid)
            if not link.has_control:
                return
        pytest.fail("an interrupt is pending for ever")

    def check(self):
        """Exactly one has the PE, and it is what its requester waits for."""
        link = self.in_control()
        running = [each for each in self.servers if each.state is RUNNING]
        assert running == ([] if link is self.v else [link])
        requester = link.ctx.caller
        assert requester is None or requester.callee is link.ctx
        if link is not self.v:
            assert interrupts.mask(link.ctx) in interrupts.Mask

    def finish(self):
        """Everybody does what they owe, until all wait."""
        for _ in range(PATIENCE):
            link = self.in_control()
            if link is not self.v:
                self.handle(link)
            if not link.has_control:
                continue
            left = self.next_link(link)
            if left is not None:
                self.call(link, fid.FFA_RUN, left.word)
            elif link is not self.v:
                owes = self.response(link) if link.ctx.request else (fid.FFA_MSG_WAIT,)
                self.call(link, *owes)
            elif all(each.state is WAITING for each in self.servers):
                if self.step(link):
                    return
            else:
                self.call(link, *message(link, self.abandoner(), (), REQ))
            self.check()
        pytest.fail(f"it does not end: {self.states(*self.servers)}")

    def next_link(self, link):
        """Who has stopped and is to go on by FFA_RUN of ``link``."""
        for each in self.servers:
            requester = each.ctx.caller
            mine = requester is link.ctx or (
                link is self.v and requester is not None and requester.gate
            )
            if mine and each.state in (PREEMPTED, BLOCKED):
                return each
        return None

    def abandoner(self):
        """Who answered without going back to its chain."""
        callers = {each.ctx.caller for each in self.servers}
        return next(each for each in self.servers if each.ctx in callers and each.state is WAITING)


WORLDS = {}


def world(kind):
    """A world where everybody waits: one that an earlier example has left so, or a new one."""
    return WORLDS.pop(kind, None) or World(kind)


@pytest.mark.parametrize("kind", [EDGE, LEVEL])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(events=st.lists(EVENTS, max_size=25))
@example(events=[("ask", 0), ("ask", 1), ("ask", 2), ("device", 0), ("look", 0), ("answer", 0)])
@example(events=[("ask", 0), ("ask", 1), ("non-secure", 0), ("look", 0), ("device", 1)])
def test_interrupts_are_taken_once(kind, events):
    rig = world(kind)
    rig.begin()
    for event in events:
        rig.event(*event)
    rig.finish()
    assert not rig.wanted
    for intid, count in rig.taken.items():
        assert 1 <= count <= rig.raised[intid]
    assert rig.taken.keys() == rig.raised.keys()
    assert not any(each.ctx.virq.pending or each.lines for each in rig.servers)
    WORLDS[kind] = rig
