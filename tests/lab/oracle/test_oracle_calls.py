"""A firmware that says yes where it must not is noticed by what its answer would mean."""

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.words import PAGE, halves
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.oracle.calls import CALLS, Made
from ffabric.lab.oracle.ledger import Ledger
from ffabric.session.booting import boot

RW = mem.PERM_DATA_RW
SHARE, RETRIEVE = fid.FFA_MEM_SHARE_64, fid.FFA_MEM_RETRIEVE_REQ_64
YES = fid.FFA_SUCCESS_32


class Scene:
    """Two SPs and a VM below a ledger that agrees so far."""

    def __init__(self):
        self.session = boot(sps=["a", "b"], vms=["v"], start=False)
        self.ledger = Ledger(self.session.system)
        self.session.system.attach(self.ledger)
        self.session.run()
        self.a, self.b = (self.session.sp(name) for name in "ab")
        for each in (self.a, self.b):
            each.ffa.map_buffers()

    def answered(self, who, function, *x, tx=b"", answer=(YES,)):
        """What the answer to a call means, whether or not the firmware has given it."""
        accounts = self.ledger.accounts
        space = accounts.spaces[who.endpoint.partition]
        registers = [function, *x, *[0] * (7 - len(x))]
        CALLS[function](accounts, space, Made(registers, tx), [*answer, *[0] * 8])

    def sent(self, who, ranges, *, sender=None, handle=99, function=SHARE):
        receiver = abi.Receiver(self.b.id, RW)
        transaction = abi.Transaction(
            sender=who.id if sender is None else sender,
            attributes=mem.MEM_ATTR_NORMAL_WB_INNER,
            receivers=[receiver],
            constituents=ranges,
        )
        data = abi.build_transaction(transaction, who.ffa.version)
        self.answered(who, function, tx=data, answer=(YES, 0, *halves(handle)))

    def wants(self, who, handle, **fields):
        """The answer to a retrieval, as whatever is in RX says it."""
        wanted = abi.Transaction(
            sender=self.a.id, handle=handle, receivers=[abi.Receiver(who.id, RW)], **fields
        )
        data = abi.build_transaction(wanted, who.ffa.version)
        self.answered(who, RETRIEVE, tx=data, answer=(fid.FFA_MEM_RETRIEVE_RESP, 0, PAGE))

    def gives_up(self, who, handle):
        data = abi.build_relinquish(abi.Relinquish(handle, 0, [who.id]))
        self.answered(who, fid.FFA_MEM_RELINQUISH, tx=data)


@pytest.fixture
def scene():
    made = Scene()
    yield made
    made.session.close()


def test_a_mailbox_that_its_owner_cannot_write_is_noticed(scene):
    page = scene.a.ram.allocate(2)
    scene.answered(scene.a, fid.FFA_RXTX_MAP_64, page, page + PAGE, 1)
    scene.answered(scene.a, fid.FFA_RXTX_UNMAP)
    scene.answered(scene.a, fid.FFA_MEM_PERM_SET_64, page, 1, mem.MEM_PERM_RO)
    with pytest.raises(Discrepancy, match=f"a mailbox at {page:#x}, which it cannot write"):
        scene.answered(scene.a, fid.FFA_RXTX_MAP_64, page, page + PAGE, 1)


def test_fragments_of_nothing_are_noticed(scene):
    with pytest.raises(Discrepancy, match="a fragment of 0x7, which nobody has begun"):
        scene.answered(scene.a, fid.FFA_MEM_FRAG_TX, *halves(7), 16)


def test_what_cannot_be_sent_is_noticed(scene):
    page = scene.a.ram.allocate(2)
    with pytest.raises(Discrepancy, match="in the name of 0x7fff"):
        scene.sent(scene.a, [(page, 1)], sender=0x7FFF)
    with pytest.raises(Discrepancy, match="of no page, or of a page twice"):
        scene.sent(scene.a, [(page, 1), (page, 1)])
    with pytest.raises(Discrepancy, match="a malformed share was accepted"):
        scene.answered(scene.a, SHARE, tx=b"no transaction")
    scene.sent(scene.a, [(page, 1)])


def test_a_handle_that_stands_for_something_is_noticed(scene):
    page, other = scene.a.ram.allocate(1), scene.a.ram.allocate(1)
    handle = scene.a.ffa.share("b", ipa=page)
    with pytest.raises(Discrepancy, match=f"the handle {handle:#x}, which stands for something"):
        scene.sent(scene.a, [(other, 1)], handle=handle)


def test_who_retrieves_what_is_not_for_it_is_noticed(scene):
    handle = scene.a.ffa.share("b", ipa=scene.a.ram.allocate(1))
    for who in (scene.session.vm("v"), scene.a):
        with pytest.raises(Discrepancy, match=f"retrieved {handle:#x}, which is not for it now"):
            scene.wants(who, handle)
    scene.b.ffa.retrieve(handle, "a")
    with pytest.raises(Discrepancy, match=f"retrieved {handle:#x}, which is not for it now"):
        scene.wants(scene.b, handle)


def test_what_is_given_up_or_taken_back_by_the_wrong_one_is_noticed(scene):
    handle = scene.a.ffa.share("b", ipa=scene.a.ram.allocate(1))
    with pytest.raises(Discrepancy, match=f"relinquished {handle:#x}, which it does not have"):
        scene.gives_up(scene.b, handle)
    with pytest.raises(Discrepancy, match=f"reclaimed {handle:#x}, which it did not give"):
        scene.answered(scene.b, fid.FFA_MEM_RECLAIM, *halves(handle))
    scene.b.ffa.retrieve(handle, "a")
    with pytest.raises(Discrepancy, match=f"reclaimed {handle:#x}, which .* have"):
        scene.answered(scene.a, fid.FFA_MEM_RECLAIM, *halves(handle))
    scene.b.ffa.relinquish(handle)
    scene.a.ffa.reclaim(handle)
    scene.ledger.check_settled()


def test_a_piece_of_a_response_that_says_what_is_not_there_is_noticed(scene):
    answer = (fid.FFA_MEM_FRAG_TX, *halves(7), 16)
    with pytest.raises(Discrepancy, match="a piece of a response that says what is not there"):
        scene.answered(scene.b, fid.FFA_MEM_FRAG_RX, *halves(7), 0, answer=answer)
