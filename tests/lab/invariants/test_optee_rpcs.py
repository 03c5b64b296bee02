"""RPCs: OP-TEE asks a VM for what that VM has given it, and whoever is asked goes on."""

import pytest

from ffabric import sp, trusted_os
from ffabric.abi.ffa import functions as fid
from ffabric.abi.optee import ffa, rpc, smc
from ffabric.abi.optee import message as m
from ffabric.abi.optee.message import Command, Message, Type
from ffabric.abi.words import MASK32, PAGE, halves
from ffabric.firmware.hypervisor.optee.client import Client
from ffabric.firmware.hypervisor.optee.shadow import Guest, RpcShadow, Shadow
from ffabric.guests.trusted_os import TrustedOs
from ffabric.lab.faults.stage import Stage
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.testing import Blocked, Invariants

COOKIE, OTHER = 0x77, 0x78
THREAD = 5
REQ, RESP = fid.FFA_MSG_SEND_DIRECT_REQ_32, fid.FFA_MSG_SEND_DIRECT_RESP_32
ALLOC = Message(rpc.Command.SHM_ALLOC, params=[m.Value(Type.VALUE_INPUT, 0, PAGE)])


def free(cookie):
    return Message(rpc.Command.SHM_FREE, params=[m.Value(Type.VALUE_INPUT, 0, cookie)])


def read_with(buffer):
    """OP-TEE wants a file read into memory."""
    return Message(rpc.Command.FS, params=[m.Value(Type.VALUE_INOUT, rpc.Fs.READ), buffer])


# Below EL3


class Tee(TrustedOs):
    """Does what a script says: RPCs, each with the message that it writes into its last page."""

    name = "tee"

    def __init__(self):
        self.script = []
        self.page = self.message = 0

    async def on_call(self, x, vcpu):
        if x[0] not in (smc.CALL_WITH_ARG, smc.RETURN_FROM_RPC):
            return (smc.Return.OK, 0, 0, 0)
        at = x[1] << 32 | x[2]
        if x[0] == smc.CALL_WITH_ARG:
            self.message = at
        elif at:
            self.page = at
        if self.script:
            function, cookie, request = self.script.pop(0)
            if request is not None:
                data = request if isinstance(request, bytes) else m.build_message(request)
                vcpu.memory.write(self.page, data)
            return (function, 0, cookie, THREAD)
        message = m.parse_message(vcpu.memory.read(self.message, PAGE), registered=True)
        vcpu.memory.write(self.message, m.build_message(message))
        return (smc.Return.OK, 0, 0, 0)


class Vm:
    """A VM that a test drives."""

    def __init__(self, handle):
        self.handle, self.id, self.memory = handle, handle.id, handle.memory

    def page(self, data=b""):
        ipa = self.handle.ram.allocate(1)
        self.memory.write(ipa, data)
        return ipa

    def call(self, *params, command=Command.CANCEL):
        """CALL_WITH_ARG: a0."""
        at = self.page(m.build_message(Message(command, params=params)))
        return self.handle.ffa.call(smc.CALL_WITH_ARG, *halves(at)[::-1])[0]

    def resume(self, a1=0, a2=0, cookie=0):
        """RETURN_FROM_RPC: a0."""
        return self.handle.ffa.call(smc.RETURN_FROM_RPC, a1, a2, THREAD, 0, cookie)[0]

    def give_page(self, cookie=COOKIE):
        """Answer RPC_ALLOC: the page, and a0."""
        page = self.page()
        return page, self.resume(*halves(page)[::-1], cookie=cookie)

    def give_memory(self, page, param):
        """Answer SHM_ALLOC: a0."""
        self.memory.write(page, m.build_message(Message(rpc.Command.SHM_ALLOC, params=[param])))
        return self.resume()


class Below:
    """Two VMs and the OP-TEE below EL3, judged."""

    def __init__(self, stage):
        self.tee = Tee()
        self.system = stage.boot(vms=["alice", "bob"], trusted_os=trusted_os(self.tee))
        Invariants(self.system, "optee")
        self.alice, self.bob = (Vm(self.system.vm(name)) for name in ("alice", "bob"))
        self.clients = self.system.system.hypervisor.mediator.clients

    def asks(self, *requests):
        """Alice calls and gives a page for messages; she is asked there. The page, and a0."""
        asked = [(smc.Rpc.CMD, COOKIE, each) for each in requests]
        self.tee.script = [(smc.Rpc.ALLOC, PAGE, None), *asked]
        assert self.alice.call() == smc.Rpc.ALLOC
        return self.alice.give_page()


@pytest.fixture
def below():
    with Stage() as stage:
        yield Below(stage)


@pytest.mark.parametrize("listed", [False, True])
def test_memory_is_given_used_and_given_back(below, listed):
    alice, buffer = below.alice, m.Rmem(Type.FMEM_INOUT, 0, PAGE, OTHER)
    page, a0 = below.asks(ALLOC, read_with(buffer), free(OTHER))
    assert a0 == smc.Rpc.CMD
    below.tee.script.append((smc.Rpc.FREE, COOKIE, None))
    given = m.Tmem(Type.TMEM_OUTPUT, alice.page(), PAGE, OTHER)
    if listed:
        pages = [alice.page() for _ in range(3)][::2]
        at = alice.page()
        alice.memory.write(at, m.build_page_list(pages, [at])[0])
        given = m.Tmem(Type.TMEM_OUTPUT | m.NONCONTIG, at, 2 * PAGE, OTHER)
    assert alice.give_memory(page, given) == smc.Rpc.CMD
    assert alice.resume() == smc.Rpc.CMD
    assert alice.resume() == smc.Rpc.FREE
    assert alice.resume() == smc.Return.OK


def test_a_vm_that_gives_no_memory_is_not_blamed(below):
    page, _ = below.asks(ALLOC)
    none = Message(rpc.Command.SHM_ALLOC, ret=0xFFFF000C, params=ALLOC.params)
    below.alice.memory.write(page, m.build_message(none))
    assert below.alice.resume() == smc.Return.OK


def test_a_page_that_was_not_given_is_none_for_messages(below):
    below.tee.script = [(smc.Rpc.ALLOC, PAGE, None)]
    below.alice.call()
    assert below.alice.resume() == smc.Return.OK


@pytest.mark.parametrize(
    "request_", [read_with(m.Rmem(Type.FMEM_INOUT, 0, PAGE, OTHER)), free(OTHER)]
)
def test_a_vm_is_not_asked_for_memory_that_it_has_not(below, request_):
    with pytest.raises(Discrepancy, match="OP-TEE asks alice for memory 0x78, which it does not"):
        below.asks(request_)


def test_memory_of_no_bytes_is_nobodys(below):
    assert below.asks(read_with(m.Rmem(Type.FMEM_INOUT, 0, 0, OTHER)))[1] == smc.Rpc.CMD


def test_memory_is_not_given_back_twice(below):
    page, _ = below.asks(ALLOC, free(OTHER), free(OTHER))
    below.alice.give_memory(page, m.Tmem(Type.TMEM_OUTPUT, below.alice.page(), PAGE, OTHER))
    with pytest.raises(Discrepancy, match="asks alice for memory 0x78"):
        below.alice.resume()


@pytest.mark.parametrize("function", [smc.Rpc.CMD, smc.Rpc.FREE])
def test_a_cookie_that_nobody_gave_is_noticed(below, function):
    below.tee.script = [(function, OTHER, None)]
    with pytest.raises(Discrepancy, match="OP-TEE names memory 0x78 to alice, which gave none"):
        below.alice.call()


def test_a_page_for_messages_is_given_back_once(below):
    below.tee.script = [(smc.Rpc.ALLOC, PAGE, None), *[(smc.Rpc.FREE, COOKIE, None)] * 2]
    below.alice.call()
    assert below.alice.give_page()[1] == smc.Rpc.FREE
    with pytest.raises(Discrepancy, match="names memory 0x77 to alice"):
        below.alice.resume()


@pytest.mark.parametrize("garbage", [b"\xff" * PAGE, bytes(28) + b"\1\0\0\0" + b"\xff" * 32])
def test_what_is_no_message_asks_for_nothing(below, garbage):
    assert below.asks(garbage)[1] == smc.Return.EBADADDR


def test_a_mediator_that_resumes_anothers_thread_is_noticed(below):
    below.tee.script = [(smc.Rpc.FOREIGN_INTR, 0, None)] * 2
    assert below.alice.call() == smc.Rpc.FOREIGN_INTR
    assert below.bob.resume() == smc.Return.ERESUME
    below.clients[below.bob.id].threads = below.clients[below.alice.id].threads
    with pytest.raises(Discrepancy, match="bob resumes thread 0x5, which is not its own"):
        below.bob.resume()


def test_a_message_where_its_vm_reaches_it_is_noticed(below, monkeypatch):
    def fill(shadow):
        shadow.page = shadow.guest.physical(shadow.ipa)

    monkeypatch.setattr(Shadow, "fill", fill)
    with pytest.raises(Discrepancy, match="alice reaches a message of alice that OP-TEE reads"):
        below.alice.call()


def test_a_page_for_messages_where_its_vm_reaches_it_is_noticed(below, monkeypatch):
    def make(shadow, guest, ipa):
        Shadow.__init__(shadow, guest, ipa)
        shadow.page = guest.physical(ipa)

    monkeypatch.setattr(RpcShadow, "__init__", make)
    with pytest.raises(Discrepancy, match="alice reaches a message of alice that OP-TEE reads"):
        below.asks()


def test_memory_that_nobody_reaches_is_noticed(below, monkeypatch):
    pool = below.system.system.hypervisor.pool
    monkeypatch.setattr(Guest, "physical", lambda guest, ipa: pool.base)
    monkeypatch.setattr(Shadow, "fill", unjudged(Shadow.fill, below.alice))
    buffer = m.Tmem(Type.TMEM_INOUT, 0, PAGE, OTHER)
    with pytest.raises(Discrepancy, match=r"alice gives OP-TEE the page .*, which nobody reaches"):
        below.alice.call(buffer, command=Command.REGISTER_SHM)


def unjudged(fill, vm):
    """The mediator reads the message of ``vm`` where that says."""

    def filled(shadow):
        shadow.guest.read = vm.memory.read
        fill(shadow)

    return filled


@pytest.mark.parametrize(
    ("entry", "noticed"),
    [(1, "what is no page_list"), (8 << 40, "the page .* which nobody reaches")],
)
def test_a_page_list_that_is_the_vms_own_is_noticed(below, monkeypatch, entry, noticed):
    """A mediator that gives OP-TEE the list of the VM itself."""
    monkeypatch.setattr(
        Shadow,
        "translated",
        lambda shadow, p: m.Tmem(
            p.attributes, shadow.guest.physical(p.address), p.size, p.reference
        ),
    )
    at = below.alice.page(entry.to_bytes(8, "little"))
    buffer = m.Tmem(Type.TMEM_INOUT | m.NONCONTIG, at, PAGE, OTHER)
    with pytest.raises(Discrepancy, match=f"alice gives OP-TEE {noticed}"):
        below.alice.call(buffer, command=Command.REGISTER_SHM)


def test_who_died_in_a_call_is_not_taken_for_its_caller_any_more(below, monkeypatch):
    """A mediator that enters OP-TEE for the dead VM is noticed in another's call."""
    below.tee.script = []
    alice, bob = below.alice, below.bob
    go_on = below.tee.on_call

    async def die(x, vcpu):
        below.system.system.destroy_vm("alice")
        return await go_on(x, vcpu)

    below.tee.on_call = die
    with pytest.raises(Blocked):
        alice.call()
    below.tee.on_call = go_on
    assert bob.call() == smc.Return.OK
    monkeypatch.setattr(Client, "ask", entering_for(alice))
    with pytest.raises(Discrepancy, match="is entered for alice, and bob has called"):
        bob.call()


@pytest.mark.parametrize("address", [8 << 40, 0])
def test_a_page_list_where_no_memory_is_is_noticed(below, monkeypatch, address):
    """A mediator that gives OP-TEE the address as the VM says it."""
    monkeypatch.setattr(Shadow, "translated", lambda shadow, param: param)
    buffer = m.Tmem(Type.TMEM_INOUT | m.NONCONTIG, address, PAGE, OTHER)
    with pytest.raises(Discrepancy, match="alice gives OP-TEE what is no page_list"):
        below.alice.call(buffer, command=Command.REGISTER_SHM)


def test_memory_is_registered_used_and_unregistered(below):
    alice, part = below.alice, m.Rmem(Type.FMEM_INOUT, 0, PAGE, OTHER)
    buffer = m.Tmem(Type.TMEM_INOUT, alice.page(), PAGE, OTHER)
    for command, param in (
        (Command.REGISTER_SHM, buffer),
        (Command.CANCEL, part),
        (Command.UNREGISTER_SHM, part),
        (Command.UNREGISTER_SHM, part),
    ):
        assert alice.call(param, command=command) == smc.Return.OK
    with pytest.raises(Discrepancy, match="alice has used memory 0x78 in OP-TEE, which it does"):
        alice.call(part)


def test_a_session_is_closed_by_who_has_opened_it(below):
    with pytest.raises(Discrepancy, match="alice has used session 0x0 in OP-TEE"):
        below.alice.call(command=Command.CLOSE_SESSION)
    assert below.bob.call(command=Command.OPEN_SESSION) == smc.Return.OK
    assert below.bob.call(command=Command.CLOSE_SESSION) == smc.Return.OK
    with pytest.raises(Discrepancy, match="bob has used session 0x0 in OP-TEE"):
        below.bob.call(command=Command.CLOSE_SESSION)


def entering_for(vm):
    """The mediator says that ``vm`` calls, whoever does."""

    def ask(client, x):
        return (yield [*x, *[0] * (7 - len(x)), vm.id])

    return ask


# As an SP


class AsSp:
    """Two VMs, and an OP-TEE that is an SP and says what the test says; judged."""

    def __init__(self, stage):
        core = sp("optee", uuid=ffa.OPTEE_UUID)
        self.system = stage.boot(sps=[core], vms=["alice", "bob"])
        Invariants(self.system, "optee")
        self.tee, self.alice, self.bob = (
            stage.side(self.system, name) for name in ("optee", "alice", "bob")
        )
        self.tee.wait()
        self.page, self.handle = self.shares(self.alice)

    def shares(self, vm):
        """Memory of a VM for messages: where it is, and its handle."""
        page = vm.page()
        return page, vm.handle.ffa.share("optee", ipa=page)

    def asks(self, message, *, vm=None, handle=None):
        """A yielding call with the message."""
        self.alice.memory.write(self.page, m.build_message(message))
        words = halves(self.handle if handle is None else handle)
        (vm or self.alice).ask(self.tee, ffa.YIELDING_CALL_WITH_ARG, *words, 0, 0, function=REQ)

    def resumes(self, vm=None):
        """The call goes on."""
        (vm or self.alice).ask(self.tee, ffa.YIELDING_CALL_RESUME, 0, 0, 0, THREAD, function=REQ)

    def answers(self, kind=ffa.Return.DONE, *, result=0, vm=None):
        self.tee.answer(vm or self.alice, result, kind, 0, 0, THREAD, function=RESP)

    def asks_back(self, request, params=0):
        """OP-TEE writes an RPC behind the message, and responds with that."""
        data = m.build_message(request)
        self.alice.memory.write(self.page + m.message_size(params), data)
        self.answers(ffa.Return.RPC_CMD)


@pytest.fixture
def as_sp():
    with Stage() as stage:
        yield AsSp(stage)


def named(handle, size=PAGE):
    return m.Fmem(Type.FMEM_INOUT, 0, 0, size, handle)


def test_as_an_sp_it_asks_for_memory_that_the_vm_has_shared(as_sp):
    as_sp.asks(Message(Command.CANCEL))
    as_sp.asks_back(ALLOC)
    _, given = as_sp.shares(as_sp.alice)
    as_sp.resumes()
    as_sp.asks_back(read_with(named(given)))
    as_sp.resumes()
    as_sp.answers(ffa.Return.INTERRUPT)
    as_sp.resumes()
    as_sp.asks_back(read_with(named(m.NO_HANDLE)))
    as_sp.resumes()
    as_sp.asks_back(free(given))
    as_sp.alice.reclaim(given)
    as_sp.resumes()
    as_sp.answers()


@pytest.mark.parametrize("make", [lambda handle: read_with(named(handle)), free])
def test_as_an_sp_it_asks_for_no_memory_of_another(as_sp, make):
    _, theirs = as_sp.shares(as_sp.bob)
    as_sp.asks(Message(Command.CANCEL, params=[m.Value(Type.VALUE_INPUT)]))
    with pytest.raises(Discrepancy, match=f"asks alice for memory {theirs:#x}"):
        as_sp.asks_back(make(theirs), params=1)


def test_as_an_sp_it_asks_for_no_memory_that_was_taken_back(as_sp):
    _, given = as_sp.shares(as_sp.alice)
    as_sp.asks(Message(Command.CANCEL))
    as_sp.asks_back(read_with(named(given)))
    as_sp.alice.reclaim(given)
    as_sp.resumes()
    with pytest.raises(Discrepancy, match=f"asks alice for memory {given:#x}"):
        as_sp.asks_back(read_with(named(given)))


def test_as_an_sp_memory_of_another_in_a_call_is_noticed_if_it_succeeds(as_sp):
    _, theirs = as_sp.shares(as_sp.bob)
    for size, ret in ((PAGE, 0xFFFF0006), (0, 0)):
        as_sp.asks(Message(Command.CANCEL, params=[named(theirs, size)], ret=ret))
        as_sp.answers()
    as_sp.asks(Message(Command.CANCEL, params=[named(theirs)]))
    with pytest.raises(Discrepancy, match=f"alice has used memory {theirs:#x} in OP-TEE"):
        as_sp.answers()


def test_as_an_sp_the_message_of_another_is_noticed_if_it_is_served(as_sp):
    as_sp.asks(Message(Command.CANCEL), vm=as_sp.bob)
    as_sp.answers(vm=as_sp.bob, result=MASK32)
    as_sp.asks(Message(Command.CANCEL), vm=as_sp.bob)
    with pytest.raises(Discrepancy, match="bob has a message served, which is not its own"):
        as_sp.answers(vm=as_sp.bob)


def test_as_an_sp_a_call_that_is_done_is_not_resumed(as_sp):
    as_sp.asks(Message(Command.CANCEL))
    as_sp.answers(ffa.Return.INTERRUPT)
    as_sp.resumes()
    as_sp.answers()
    as_sp.resumes()
    with pytest.raises(Discrepancy, match="alice resumes thread 0x5, which is not its own"):
        as_sp.answers(ffa.Return.INTERRUPT)


def test_as_an_sp_what_is_behind_the_memory_is_no_message(as_sp):
    words = (*halves(as_sp.handle), PAGE, 0)
    as_sp.alice.ask(as_sp.tee, ffa.YIELDING_CALL_WITH_ARG, *words, function=REQ)
    with pytest.raises(Discrepancy, match="alice has a message served"):
        as_sp.answers()


def test_as_an_sp_a_message_may_be_in_any_piece_of_the_memory(as_sp):
    first, _, last = (as_sp.alice.page() for _ in range(3))
    handle = as_sp.alice.handle.ffa.share("optee", ranges=[(first, 1), (last, 1)])
    words = (*halves(handle), PAGE, 0)
    _, theirs = as_sp.shares(as_sp.bob)
    message = Message(Command.CANCEL, params=[named(theirs)])
    as_sp.alice.memory.write(last, m.build_message(message))
    as_sp.alice.ask(as_sp.tee, ffa.YIELDING_CALL_WITH_ARG, *words, function=REQ)
    with pytest.raises(Discrepancy, match=f"alice has used memory {theirs:#x}"):
        as_sp.answers()


def test_as_an_sp_blocking_services_are_nobodys_calls(as_sp):
    as_sp.alice.ask(as_sp.tee, ffa.GET_API_VERSION, function=REQ)
    as_sp.tee.answer(as_sp.alice, 1, 0, function=RESP)
