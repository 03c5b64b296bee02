"""Any order of memory transactions between endpoints that come and go, against a model.

The model knows who owns a page, to whom it was given and who has it. Calls come from two PEs. VMs
are created and destroyed at any moment; one that an SP holds up is *dying* until it is gone. After
each step the ledger, which follows the calls alone, has compared all stage-2 tables.
"""

from contextlib import suppress
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from ffabric.abi import psci
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_1
from ffabric.abi.words import PAGE
from ffabric.guests.errors import FfaError
from ffabric.lab.oracle.ledger import Ledger
from ffabric.machine.machine import Stalled
from ffabric.session.ffa import Blocked
from ffabric.session.system import System
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, sp, vm

RO, RW, NX = mem.PERM_DATA_RO, mem.PERM_DATA_RW, mem.PERM_INSTRUCTION_NX
VMS, SPS = ("v", "w", "x"), ("s", "t")
"""The VM ``x`` is one that was created; there may be one after the other."""
ARENA = 6
"""Pages of each endpoint that are given around, besides a scattered buffer."""
SCATTERED = 270
"""Single pages of a buffer whose description does not fit TX or RX: it goes in fragments."""
NOBODY = 0x7ABC
OLD: dict[str, Any] = {"ffa_version": V1_1, "messaging_method": 7}

names = st.sampled_from([*VMS, *SPS])
handles = Bundle("handles")


class Given:
    """Memory that was sent, until it is reclaimed or, donated, retrieved."""

    def __init__(self, kind, owner, pages, offers, *, ids, contents):
        self.kind, self.owner, self.pages, self.offers = kind, owner, pages, offers
        self.ids = ids
        """Of those to whom it was sent, as they were then."""
        self.contents = contents
        self.held = {}
        self.gone = set()
        """Receivers that have died, whoever has their names now."""

    @property
    def single(self):
        """Lent or donated to one borrower, who says whether it wants to execute it."""
        return self.kind != "share" and len(self.offers) == 1


class MemoryManagement(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        spec = describe(
            sps=[sp("s", vcpus=2), sp("t", **OLD)],
            vms=[vm("v", vcpus=2), vm("w", vcpus=2, **OLD)],
            pes=2,
        )
        self.system = boot(spec)
        self.ledger = Ledger(self.system)
        self.system.attach(self.ledger)
        self.session = System(self.system)
        self.session.run()
        self.alive = []
        self.dying = set()
        self.pe = 0
        """Where the next calls are made, if that can be."""
        self.ends = {}
        self.id = {}
        self.own = {}
        """Pages that an endpoint owns and shares with nobody, by name."""
        self.buffer = {}
        """One in many pieces."""
        self.gift = {}
        """What it got last: donated, or come back."""
        self.given = {}
        self.marks = 0
        for name in ("v", "w", *SPS):
            self.adopt(name)

    def adopt(self, name):
        """An endpoint has come."""
        self.alive.append(name)
        end = self.ends[name] = (self.session.sp if name in SPS else self.session.vm)(name)
        self.id[name] = end.id
        end.ffa.map_buffers()
        if name in VMS:
            end.ffa.call(psci.CPU_ON_64, self.system.machine.pes[1].mpidr, 0x4000_0000, 0)
        base = end.ram.allocate(ARENA)
        self.own[name] = [base + n * PAGE for n in range(ARENA)]
        base = end.ram.allocate(SCATTERED)
        order = [*range(0, SCATTERED, 2), *range(1, SCATTERED, 2)]
        self.buffer[name] = [base + n * PAGE for n in order]
        self.gift[name] = []

    def ffa(self, name):
        """The calls of a vCPU of ``name``, on this PE or, if that cannot be, on the other."""
        for vcpu in (self.pe, 1 - self.pe):
            if vcpu < len(self.ends[name].endpoint.partition.contexts):
                with suppress(Stalled):
                    self.ends[name].endpoint.take(vcpu)
                    break
        return self.ends[name].vcpu(vcpu)

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
        at=st.lists(st.integers(0, ARENA - 1), min_size=1, max_size=4, unique=True),
        what=st.sampled_from(["pages", "pages", "pages", "buffer", "gift"]),
        rights=st.sampled_from([RW, RW, RO]),
        flags=st.sampled_from([0, 0, 0, mem.FLAG_CLEAR]),
    )
    def send(self, *, kind, owner, to, at, what, rights, flags):
        if owner not in self.alive:
            return multiple()
        pages = {
            "pages": [self.own[owner][n] for n in at if n < len(self.own[owner])],
            "buffer": self.buffer[owner],
            "gift": self.gift[owner],
        }[what]
        if not pages:
            return multiple()
        contents = self.mark(owner, pages[0])
        handle = self.attempt(
            self.why_not_send(kind, owner, to, flags),
            getattr(self.ffa(owner), kind),
            [self.id.get(each, NOBODY) for each in to],
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
        ids = {each: self.id[each] for each in to}
        self.given[handle] = Given(kind, owner, pages, offers, ids=ids, contents=contents)
        return handle

    @rule(owner=names, to=names, handle=handles)
    def send_what_is_not_there(self, owner, to, handle):
        given = self.given.get(handle)
        if owner not in self.alive or given is None:
            return
        pages = given.pages if given.owner == owner else given.held.get(owner)
        if pages:
            allowed = {Status.DENIED, Status.INVALID_PARAMETERS}
            self.attempt(allowed, self.ffa(owner).share, self.id.get(to, NOBODY), ipa=pages[0])

    @rule(handle=handles, borrower=names, rights=st.sampled_from([RW, RW, RO]))
    def retrieve(self, handle, borrower, rights):
        given = self.given.get(handle)
        if borrower not in self.alive or (given and given.owner in self.dying):
            return
        sender = given.owner if given else "v"
        allowed = set()
        offers = given.offers if given else {}
        if borrower not in offers or borrower in given.gone or sender not in self.alive:
            allowed |= {Status.INVALID_PARAMETERS, Status.DENIED}
        elif borrower in given.held or rights > given.offers[borrower]:
            allowed.add(Status.DENIED)
        others = [(given.ids[name], each) for name, each in offers.items() if name != borrower]
        if given and given.kind == "donate":
            rights = RW
        if given and given.single:
            rights |= NX
        end = self.ends[borrower]
        got = self.attempt(
            allowed,
            self.ffa(borrower).retrieve,
            handle,
            self.id.get(sender, NOBODY),
            permissions=rights,
            others=others,
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
        self.attempt(allowed, self.ffa(borrower).relinquish, handle)
        if not allowed:
            del given.held[borrower]
            if given.owner not in (*self.alive, *self.dying) and not given.held:
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
        self.attempt(allowed, self.ffa(owner).reclaim, handle)
        if not allowed:
            del self.given[handle]
            assert self.ends[owner].memory.read(given.pages[0], 8) == given.contents
            self.gift[owner] = given.pages

    @rule()
    def go_to_the_other_pe(self):
        self.pe = 1 - self.pe

    @rule(name=st.sampled_from(VMS), really=st.sampled_from([False] * 9 + [True]))
    def destroy(self, name, really):
        if not really or name not in self.alive:
            return
        self.alive.remove(name)
        self.dying.add(name)
        self.system.destroy_vm(name, pe=self.pe)
        self.session.run()

    @rule(soon=st.booleans())
    def create(self, soon):
        if "x" in self.system.endpoints or "x" in self.dying:
            return
        if soon:
            self.system.hypervisor.vm_ids.begin_again()
        self.session.create_vm(vm("x", vcpus=2))
        self.adopt("x")

    @rule(name=st.sampled_from(SPS))
    def wait(self, name):
        """An SP gives the PE back: what it has held up happens."""
        for ctx in self.ends[name].endpoint.partition.contexts:
            if ctx.runner.in_control:
                with suppress(Blocked):
                    self.ends[name].vcpu(ctx.index).msg_wait()

    def bury(self):
        """Who is gone has nothing any more, and only SPs have what it had given."""
        for name in [each for each in self.dying if each not in self.system.endpoints]:
            self.dying.remove(name)
            for handle, given in [*self.given.items()]:
                given.held.pop(name, None)
                given.gone.add(name)
                if given.owner == name:
                    given.owner = None
                    given.held = {each: pages for each, pages in given.held.items() if each in SPS}
                if given.owner is None and not given.held:
                    del self.given[handle]

    @invariant()
    def the_tables_say_so_too(self):
        self.bury()
        self.ledger.check()
        self.ledger.check_tables()
        transactions = self.ledger.accounts.transactions
        held = {handle: {*each.holders} for handle, each in transactions.items()}
        assert held == {
            handle: {given.ids[name] for name in given.held} for handle, given in self.given.items()
        }


TestMemoryManagement = MemoryManagement.TestCase
