"""Any order of memory transactions between four endpoints, against a model of a page's life.

The model knows who owns a page, to whom it was given and who has it. After each step the ledger,
which follows the calls alone, has compared all stage-2 tables.
"""

from contextlib import suppress

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_1
from ffabric.abi.words import PAGE
from ffabric.guests.errors import FfaError
from ffabric.lab.oracle.ledger import Ledger
from ffabric.session.ffa import Blocked
from ffabric.session.system import System
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, sp, vm

RO, RW, NX = mem.PERM_DATA_RO, mem.PERM_DATA_RW, mem.PERM_INSTRUCTION_NX
VMS, SPS = ("v", "w"), ("s", "t")
ARENA = 6
"""Pages of each endpoint that are given around, besides a scattered buffer."""
SCATTERED = 270
"""Single pages of a buffer whose description does not fit TX or RX: it goes in fragments."""
OLD = {"ffa_version": V1_1, "messaging_method": 7}

names = st.sampled_from([*VMS, *SPS])
handles = Bundle("handles")


class Given:
    """Memory that was sent, until it is reclaimed or, donated, retrieved."""

    def __init__(self, kind, owner, pages, offers, contents):
        self.kind, self.owner, self.pages, self.offers = kind, owner, pages, offers
        self.contents = contents
        self.held = {}

    @property
    def single(self):
        """Lent or donated to one borrower, who says whether it wants to execute it."""
        return self.kind != "share" and len(self.offers) == 1


class MemoryManagement(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        spec = describe(sps=["s", sp("t", **OLD)], vms=["v", vm("w", **OLD)])
        self.system = boot(spec)
        self.ledger = Ledger(self.system)
        self.system.attach(self.ledger)
        self.session = System(self.system)
        self.session.run()
        self.alive = [*VMS, *SPS]
        self.ends = {name: self.session.vm(name) for name in VMS}
        self.ends |= {name: self.session.sp(name) for name in SPS}
        self.id = {name: end.id for name, end in self.ends.items()}
        self.own = {}
        """Pages that an endpoint owns and shares with nobody, by name."""
        self.buffer = {}
        """One in many pieces."""
        self.gift = {name: [] for name in self.ends}
        """What it got last: donated, or come back."""
        self.given = {}
        self.marks = 0
        for name, end in self.ends.items():
            end.ffa.map_buffers()
            base = end.ram.allocate(ARENA)
            self.own[name] = [base + n * PAGE for n in range(ARENA)]
            base = end.ram.allocate(SCATTERED)
            order = [*range(0, SCATTERED, 2), *range(1, SCATTERED, 2)]
            self.buffer[name] = [base + n * PAGE for n in order]

    def teardown(self):
        self.session.close()

    def attempt(self, allowed, call, *args, **options):
        """Make a call that must succeed if nothing is ``allowed``, or else fail with one of that.

        None if it failed.
        """
        answer, status = None, None
        try:
            answer = call(*args, **options)
        except FfaError as error:
            status = error.status
        assert status in (allowed or {None})
        return answer

    def mark(self, name, page):
        """Write something new into a page."""
        self.marks += 1
        contents = self.marks.to_bytes(8, "little")
        self.ends[name].memory.write(page, contents)
        return contents

    def why_not_send(self, kind, owner, to, flags):
        """The statuses with which a transaction may be refused."""
        refused = set()
        if owner in to or len(set(to)) < len(to):
            refused.add(Status.INVALID_PARAMETERS)
        if any(each not in self.alive for each in to):
            refused.add(Status.INVALID_PARAMETERS)
        if kind == "donate" and len(to) > 1:
            refused.add(Status.INVALID_PARAMETERS)
        if kind == "share" and flags & mem.FLAG_CLEAR:
            refused.add(Status.INVALID_PARAMETERS)
        if owner in SPS and set(to) & set(VMS):
            refused |= {Status.DENIED, Status.INVALID_PARAMETERS}
        return refused

    @rule(
        target=handles,
        kind=st.sampled_from(["share", "lend", "donate"]),
        owner=names,
        to=st.lists(names, min_size=1, max_size=3),
        at=st.integers(0, ARENA - 1),
        count=st.integers(1, 3),
        what=st.sampled_from(["pages", "pages", "pages", "buffer", "gift"]),
        rights=st.sampled_from([RW, RW, RO]),
        flags=st.sampled_from([0, 0, 0, mem.FLAG_CLEAR]),
    )
    def send(self, *, kind, owner, to, at, count, what, rights, flags):
        if owner not in self.alive:
            return multiple()
        pages = {
            "pages": self.own[owner][at : at + count],
            "buffer": self.buffer[owner],
            "gift": self.gift[owner],
        }[what]
        if not pages:
            return multiple()
        contents = self.mark(owner, pages[0])
        handle = self.attempt(
            self.why_not_send(kind, owner, to, flags),
            getattr(self.ends[owner].ffa, kind),
            [self.id[each] for each in to],
            ranges=[(page, 1) for page in pages],
            permissions=0 if kind == "donate" else rights,
            flags=flags,
        )
        if handle is None:
            return multiple()
        for place in (self.own, self.buffer, self.gift):
            place[owner] = [page for page in place[owner] if page not in pages]
        offers = dict.fromkeys(to, RW if kind == "donate" else rights)
        contents = bytes(8) if flags & mem.FLAG_CLEAR else contents
        self.given[handle] = Given(kind, owner, pages, offers, contents)
        return handle

    @rule(owner=names, to=names, handle=handles)
    def send_what_is_not_there(self, owner, to, handle):
        given = self.given.get(handle)
        if owner not in self.alive or given is None:
            return
        pages = given.pages if given.owner == owner else given.held.get(owner)
        if pages:
            allowed = {Status.DENIED, Status.INVALID_PARAMETERS}
            self.attempt(allowed, self.ends[owner].ffa.share, self.id[to], ipa=pages[0])

    @rule(handle=handles, borrower=names, rights=st.sampled_from([RW, RW, RO]))
    def retrieve(self, handle, borrower, rights):
        if borrower not in self.alive:
            return
        given = self.given.get(handle)
        sender = given.owner if given else "v"
        allowed = set()
        if given is None or borrower not in given.offers or sender not in self.alive:
            allowed |= {Status.INVALID_PARAMETERS, Status.DENIED}
        elif borrower in given.held or rights > given.offers[borrower]:
            allowed.add(Status.DENIED)
        offers = given.offers if given else {}
        others = [(self.id[name], each) for name, each in offers.items() if name != borrower]
        if given and given.kind == "donate":
            rights = RW
        if given and given.single:
            rights |= NX
        end = self.ends[borrower]
        got = self.attempt(
            allowed, end.ffa.retrieve, handle, self.id[sender], permissions=rights, others=others
        )
        if got is None:
            return
        pages = [ipa + n * PAGE for ipa, count in got.ranges for n in range(count)]
        assert len(pages) == len(given.pages)
        assert end.memory.read(pages[0], 8) == given.contents
        if given.kind == "donate":
            del self.given[handle]
            self.gift[borrower] = pages
            return
        given.held[borrower] = pages
        if got.permissions & RW:
            given.contents = self.mark(borrower, pages[0])
        if given.kind == "share":
            assert self.ends[given.owner].memory.read(given.pages[0], 8) == given.contents

    @rule(handle=handles, borrower=names)
    def relinquish(self, handle, borrower):
        if borrower not in self.alive:
            return
        given = self.given.get(handle)
        allowed = set()
        if given is None or borrower not in given.held:
            allowed |= {Status.INVALID_PARAMETERS, Status.DENIED}
        self.attempt(allowed, self.ends[borrower].ffa.relinquish, handle)
        if not allowed:
            del given.held[borrower]
            if given.owner not in self.alive and not given.held:
                del self.given[handle]

    @rule(handle=handles, owner=names)
    def reclaim(self, handle, owner):
        if owner not in self.alive:
            return
        given = self.given.get(handle)
        allowed = set()
        if given is None or given.owner != owner:
            allowed |= {Status.INVALID_PARAMETERS, Status.DENIED}
        elif given.held:
            allowed.add(Status.DENIED)
        self.attempt(allowed, self.ends[owner].ffa.reclaim, handle)
        if not allowed:
            del self.given[handle]
            assert self.ends[owner].memory.read(given.pages[0], 8) == given.contents
            self.gift[owner] = given.pages

    @rule(name=st.sampled_from(VMS), really=st.sampled_from([False] * 9 + [True]))
    def destroy(self, name, really):
        if not really or name not in self.alive:
            return
        for each in SPS:
            if self.ends[each].endpoint.partition.contexts[0].runner.in_control:
                with suppress(Blocked):
                    self.ends[each].ffa.msg_wait()
        self.alive.remove(name)
        self.system.destroy_vm(name)
        self.session.run()
        for handle, given in [*self.given.items()]:
            given.held.pop(name, None)
            if given.owner == name:
                given.held = {each: pages for each, pages in given.held.items() if each in SPS}
            if given.owner not in self.alive and not given.held:
                del self.given[handle]

    @invariant()
    def the_tables_say_so_too(self):
        self.ledger.check()
        self.ledger.check_tables()
        held = {handle: {*each.holders} for handle, each in self.ledger.transactions.items()}
        assert held == {
            handle: {self.id[name] for name in given.held} for handle, given in self.given.items()
        }


TestMemoryManagement = MemoryManagement.TestCase
