"""Several VMs and one OP-TEE: the mediator says who calls and lets each name its own memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mediator_sides import THREAD, World

from ffabric.abi.optee import message as m
from ffabric.abi.optee import rpc, smc
from ffabric.abi.words import MASK32, MASK64, PAGE
from ffabric.firmware.hypervisor.optee.shadow import MAX_BUFFER_PAGES, MAX_PAGES
from ffabric.machine.translation.descriptors import S2AP_W
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import vm

Return, Type = smc.Return, m.Type
BLOCK = 2 << 20
COOKIE = 0x77


@pytest.fixture
def world(ffabric):
    return World(ffabric)


@pytest.fixture
def alice(world):
    return world.alice


def tmem(address, size, kind=Type.TMEM_INOUT, flags=0, reference=COOKIE):
    return m.Tmem(kind | flags, address, size, reference)


# Who calls


def test_a_call_is_the_vms_whatever_it_says(world):
    for each in (world.alice, world.bob):
        assert each.smc(smc.CALLS_UID, 0, 0, 0, 0, 0, 0, 0) == smc.MESSAGE_UID
        each.smc(smc.CALLS_UID, 0, 0, 0, 0, 0, 0, 3 - each.id)
        assert [x[7] for x in world.tee.calls[-2:]] == [each.id] * 2


def test_what_vms_may_not_have_is_hidden_from_them(alice):
    a0, capabilities, _, _ = alice.smc(smc.EXCHANGE_CAPABILITIES)
    hidden = ("HAVE_RESERVED_SHM", "VIRTUALIZATION", "ASYNC_NOTIF", "RPC_ARG", "RPMB_PROBE")
    fields = dict(smc.Capabilities(capabilities).fields())
    assert a0 == Return.OK
    assert {name for name, value in fields.items() if not value} == set(hidden)


@pytest.mark.parametrize(
    "function",
    [smc.VM_CREATED, smc.VM_DESTROYED, smc.ENABLE_ASYNC_NOTIF, smc.GET_ASYNC_NOTIF_VALUE,
     smc.RETURN_CALL_DONE, smc.GET_PROTMEM_CONFIG],
)  # fmt: skip
def test_other_functions_are_not_for_vms(world, alice, function):
    made = len(world.tee.calls)
    assert alice.smc(function, 2)[0] == Return.UNKNOWN_FUNCTION
    assert world.refused("optee.function") == 1
    assert len(world.tee.calls) == made


@pytest.mark.parametrize(
    ("function", "rule", "code"),
    [
        (smc.CALL_WITH_REGD_ARG, "optee.registered_message", Return.UNKNOWN_FUNCTION),
        (smc.CALL_WITH_RPC_ARG, "optee.registered_message", Return.UNKNOWN_FUNCTION),
        (smc.GET_SHM_CONFIG, "optee.reserved_memory", Return.ENOTAVAIL),
    ],
)
def test_messages_where_others_could_change_them_are_refused(world, alice, function, rule, code):
    made = len(world.tee.calls)
    assert alice.smc(function, 0, COOKIE, 0)[0] == code
    assert world.refused(rule) == 1
    assert len(world.tee.calls) == made


def test_a_vm_for_which_there_is_no_room_has_no_optee(ffabric):
    world = World(ffabric, ("alice", "bob", "carol"))
    assert world.tee.guests == {1, 2}
    carol = world.session.vm("carol").ffa
    assert carol.call(smc.CALLS_UID)[0] == Return.ENOTAVAIL
    assert world.refused("optee.client") == 1
    world.system.destroy_vm("alice")
    world.system.run()
    world.system.create_vm(vm("dave"))
    world.system.run()
    assert world.tee.guests == {2, 4}
    assert world.session.vm("dave").ffa.call(smc.CALLS_UID)[:4] == smc.MESSAGE_UID


# Messages


def test_optee_reads_a_copy_and_its_answers_are_copied_back(world, alice):
    at = alice.put(
        m.Value(Type.VALUE_INOUT, 1, 2, 3),
        m.Value(Type.VALUE_INPUT, 4, 5, 6),
        m.Rmem(Type.FMEM_OUTPUT, 0, 64, COOKIE),
    )

    def serve(message):
        message.session, message.ret, message.ret_origin = 9, 8, 7
        message.function = message.cancel_id = 99
        message.params = [
            m.Value(Type.VALUE_INOUT, 10, 20, 30),
            m.Value(Type.VALUE_INPUT, 40, 50, 60),
            m.Rmem(Type.FMEM_OUTPUT, 11, 16, 12),
        ]

    world.tee.serve = serve
    assert alice.call(at) == Return.OK
    assert world.tee.message not in (at, alice.pa(at))
    got = alice.got(at)
    assert (got.session, got.ret, got.ret_origin, got.function, got.cancel_id) == (9, 8, 7, 0, 0)
    assert got.params == [
        m.Value(Type.VALUE_INOUT, 10, 20, 30),
        m.Value(Type.VALUE_INPUT, 4, 5, 6),
        m.Rmem(Type.FMEM_OUTPUT, 0, 16, COOKIE),
    ]
    assert world.taken == 0


def test_a_contiguous_buffer_is_a_physical_address(world, alice):
    ipa = alice.pages(2)
    alice.call(alice.put(tmem(ipa + 8, PAGE)))
    assert world.tee.messages[-1].params == [tmem(alice.pa(ipa) + 8, PAGE)]


def test_a_buffer_that_is_only_contiguous_for_the_vm_becomes_a_list(world, alice):
    first = alice.pages(BLOCK // PAGE * 2)
    ipa = (first // BLOCK + 1) * BLOCK - PAGE
    seen = []

    def serve(message):
        (param,) = message.params
        data = world.system.machine.memory.read(param.address & -PAGE, PAGE, secure=False)
        seen.extend((param, m.parse_list_page(data, 2)[0]))

    world.tee.serve = serve
    assert alice.call(alice.put(tmem(ipa + 16, PAGE))) == Return.OK
    param, pages = seen
    assert (param.attributes, param.address % PAGE) == (Type.TMEM_INOUT | m.NONCONTIG, 16)
    assert pages == [alice.pa(ipa), alice.pa(ipa + PAGE)]
    assert pages[1] != pages[0] + PAGE
    assert world.taken == 0


@pytest.mark.parametrize("count", [1, 2, 511, 512, 1100])
def test_page_lists_are_translated(world, alice, count):
    ipa = alice.pages(count)
    addresses = [ipa + n * PAGE for n in range(count)][::-1]
    found = []

    def serve(message):
        at, left = message.params[0].address, count
        while left:
            data = world.system.machine.memory.read(at, PAGE, secure=False)
            entries, at = m.parse_list_page(data, left)
            found.extend(entries)
            left -= len(entries)

    world.tee.serve = serve
    param = tmem(alice.page_list(addresses), count * PAGE, Type.TMEM_OUTPUT, m.NONCONTIG)
    assert alice.call(alice.put(param, command=m.Command.REGISTER_SHM)) == Return.OK
    assert found == [alice.pa(each) for each in addresses]
    assert world.taken == 0


def test_no_memory_is_no_address(world, alice):
    alice.call(alice.put(tmem(0, 0)))
    assert world.tee.messages[-1].params == [tmem(0, 0)]


# What is refused: OP-TEE does not hear of it, and nothing is left behind


def refused(world, rule, code, at):
    calls = len(world.tee.calls)
    assert world.alice.call(at) == code
    assert world.refused(rule) == 1
    assert len(world.tee.calls) == calls
    assert world.taken == 0


def foreign(world):
    """Addresses that are not alice's own."""
    alice, bob = world.alice, world.bob
    given = alice.pages(1)
    alice.ffa.share(ipa=given, pages=1, to=bob.id)
    read_only = alice.pages(1)
    alice.stage2.update(read_only, 1, S2AP_W, 0)
    return {
        "bob's": bob.pa(bob.pages(1)),
        "tee's": world.system.endpoint("tee").spec.memory[0].pa,
        "nobody's": 1 << 39,
        "beyond": 1 << 60,
        "the hypervisor's": world.hypervisor.pool.base,
        "a device": world.system.spec.gic.distributor,
        "shared": given,
        "read-only": read_only,
    }


WHOSE = (
    "bob's",
    "tee's",
    "nobody's",
    "beyond",
    "the hypervisor's",
    "a device",
    "shared",
    "read-only",
)


@pytest.mark.parametrize("whose", WHOSE)
@pytest.mark.parametrize("what", ["message", "buffer", "list", "entry", "second entry"])
def test_foreign_memory_is_refused(world, alice, whose, what):
    address = foreign(world)[whose]
    mine = alice.pages(1)
    at = {
        "message": lambda: address,
        "buffer": lambda: alice.put(tmem(address, 16)),
        "list": lambda: alice.put(tmem(address, 16, flags=m.NONCONTIG)),
        "entry": lambda: alice.put(tmem(alice.page_list([address]), PAGE, flags=m.NONCONTIG)),
        "second entry": lambda: alice.put(
            tmem(alice.page_list([mine, address]), 2 * PAGE, flags=m.NONCONTIG)
        ),
    }[what]()
    refused(world, "optee.address", Return.EBADADDR, at)


def test_a_message_lies_in_a_page(world, alice):
    refused(world, "optee.extent", Return.EBADADDR, alice.pages(2) + PAGE - 8)


def test_a_message_is_aligned(world, alice):
    refused(world, "optee.extent", Return.EBADADDR, alice.put() + 4)


@pytest.mark.parametrize(("num_params", "kind"), [(1000, 0), (128, 0), (1, 4), (1, 0xFF)])
def test_a_message_is_well_formed(world, alice, num_params, kind):
    at = alice.put(m.Empty())
    alice.memory.write32(at + 28, num_params)
    alice.memory.write64(at + 32, kind)
    refused(world, "optee.message", Return.EBADADDR, at)


def test_a_page_list_has_pages(world, alice):
    entries = alice.page((0x1001).to_bytes(8, "little"))
    at = alice.put(tmem(entries, 16, flags=m.NONCONTIG))
    refused(world, "optee.message", Return.EBADADDR, at)


@pytest.mark.parametrize("size", [0, MAX_BUFFER_PAGES * PAGE + 1, MASK64])
def test_a_buffer_is_not_too_large(world, alice, size):
    at = alice.put(tmem(alice.pages(1), size))
    refused(world, "optee.buffer", Return.EBADADDR, at)


def test_a_vm_has_so_many_pages(world, alice):
    page = alice.pages(1)
    most = MAX_PAGES * m.LIST_ENTRIES // MAX_BUFFER_PAGES + 1
    entries = alice.page_list([page] * MAX_BUFFER_PAGES)
    buffers = [tmem(entries, MAX_BUFFER_PAGES * PAGE, flags=m.NONCONTIG)] * most
    refused(world, "optee.pages", Return.ENOMEM, alice.put(*buffers))


# Calls that need the VM in between


def rpc_to(world, alice, *rpcs):
    """A call that OP-TEE answers with RPCs: where its message is."""
    world.tee.rpcs = list(rpcs)
    at = alice.put(m.Value(Type.VALUE_OUTPUT))
    assert alice.call(at) == rpcs[0][0]
    return at


def test_a_call_is_resumed_where_it_was_interrupted(world, alice):
    rpc_to(world, alice, (smc.Rpc.FOREIGN_INTR, 0, 0), (smc.Rpc.FOREIGN_INTR, 0, 0))
    assert alice.resume() == smc.Rpc.FOREIGN_INTR
    assert world.taken == 1
    assert alice.resume() == Return.OK
    assert world.taken == 0


def test_only_what_waits_for_the_vm_is_resumed(world, alice):
    rpc_to(world, alice, (smc.Rpc.FOREIGN_INTR, 0, 0))
    assert world.bob.resume() == Return.ERESUME
    assert alice.resume(thread=THREAD + 1) == Return.ERESUME
    assert alice.resume() == Return.OK
    assert alice.resume() == Return.ERESUME
    assert world.refused("optee.resume") == 3


def give_page(alice):
    """Answer RPC_ALLOC: the page, and a0."""
    page = alice.pages(1)
    return page, alice.resume(page >> 32, page & MASK32, a4=0, a5=COOKIE)


def shadow_of(world):
    """Where OP-TEE was told that the page is."""
    x = world.tee.calls[-1]
    return x[1] << 32 | x[2]


def ask(world, alice, request):
    """OP-TEE has a page of alice and asks something there: her page, where she is asked."""
    memory = world.system.machine.memory
    rpc_to(
        world,
        alice,
        (smc.Rpc.ALLOC, PAGE, 0),
        (smc.Rpc.FOREIGN_INTR, 0, 0),
        (smc.Rpc.CMD, 0, COOKIE),
    )
    page, a0 = give_page(alice)
    assert a0 == smc.Rpc.FOREIGN_INTR
    shadow = shadow_of(world)
    memory.write(shadow, m.build_message(request), secure=False)
    assert alice.resume() == smc.Rpc.CMD
    return page, lambda: m.parse_message(memory.read(shadow, PAGE, secure=False), registered=True)


def test_a_request_of_optee_and_its_answer_go_through_a_shadow(world, alice):
    request = m.Message(
        rpc.Command.FS, params=[m.Value(Type.VALUE_INOUT, 1), m.Value(Type.VALUE_INPUT, 2)]
    )
    page, shadow = ask(world, alice, request)
    got = alice.got(page)
    assert got == request
    assert shadow_of(world) != alice.pa(page)
    got.command, got.ret, got.ret_origin = 99, 5, 6
    got.params = [
        m.Value(Type.VALUE_INPUT, 11),
        m.Value(Type.VALUE_INOUT, 22),
        m.Value(Type.VALUE_INOUT, 33),
    ]
    alice.memory.write(page, m.build_message(got))
    assert alice.resume(a2=COOKIE) == Return.OK
    answer = shadow()
    assert (answer.command, answer.ret, answer.ret_origin) == (rpc.Command.FS, 5, 6)
    assert answer.params == [m.Value(Type.VALUE_INOUT, 11), m.Value(Type.VALUE_INPUT, 2)]


def test_no_physical_address_is_shown(world, alice):
    page, _ = ask(world, alice, m.Message(rpc.Command.FS, params=[tmem(0x12345000, 16)]))
    assert alice.got(page).params == [tmem(0, 16)]


def test_memory_that_the_vm_gives_is_translated(world, alice):
    request = m.Message(rpc.Command.SHM_ALLOC, params=[m.Value(Type.VALUE_INPUT, 0, PAGE)])
    page, shadow = ask(world, alice, request)
    buffer = alice.pages(1)
    given = tmem(buffer, PAGE, Type.TMEM_OUTPUT)
    alice.memory.write(page, m.build_message(m.Message(rpc.Command.SHM_ALLOC, params=[given])))
    assert alice.resume(a2=COOKIE) == Return.OK
    assert shadow().params == [tmem(alice.pa(buffer), PAGE, Type.TMEM_OUTPUT)]


def test_a_page_list_that_the_vm_gives_outlasts_an_interrupt(world, alice):
    """OP-TEE may be preempted before it has read the list."""
    request = m.Message(rpc.Command.SHM_ALLOC, params=[m.Value(Type.VALUE_INPUT, 0, PAGE)])
    page, shadow = ask(world, alice, request)
    buffer = alice.pages(1)
    given = tmem(alice.page_list([buffer]), PAGE, Type.TMEM_OUTPUT, m.NONCONTIG)
    alice.memory.write(page, m.build_message(m.Message(rpc.Command.SHM_ALLOC, params=[given])))
    world.tee.rpcs = [(smc.Rpc.FOREIGN_INTR, 0, 0)]
    assert alice.resume(a2=COOKIE) == smc.Rpc.FOREIGN_INTR
    world.bob.call(world.bob.put(tmem(world.bob.page_list([0]), PAGE, flags=m.NONCONTIG)))
    (param,) = shadow().params
    listed = world.system.machine.memory.read(param.address, PAGE, secure=False)
    assert m.parse_list_page(listed, 1)[0] == [alice.pa(buffer)]
    assert alice.resume() == Return.OK
    assert world.taken == 1


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (tmem(1 << 39, PAGE), "optee.address"),
        (m.Value(Type.VALUE_OUTPUT, 1), "optee.message"),
        (tmem(1 << 39, PAGE, flags=m.NONCONTIG), "optee.address"),
    ],
)
def test_memory_that_the_vm_gives_is_its_own(world, alice, given, rule):
    request = m.Message(rpc.Command.SHM_ALLOC, params=[m.Value(Type.VALUE_INPUT, 0, PAGE)])
    page, _ = ask(world, alice, request)
    taken = world.taken
    alice.memory.write(page, m.build_message(m.Message(rpc.Command.SHM_ALLOC, params=[given])))
    assert alice.resume(a2=COOKIE) == Return.EBADADDR
    assert world.refused(rule) == 1
    assert world.taken == taken
    none = m.Message(rpc.Command.SHM_ALLOC, ret=0xFFFF000C, params=[given])
    alice.memory.write(page, m.build_message(none))
    assert alice.resume(a2=COOKIE) == Return.OK


def test_a_page_for_messages_is_the_vms_own_and_new(world, alice):
    rpc_to(world, alice, (smc.Rpc.ALLOC, PAGE, 0), (smc.Rpc.ALLOC, PAGE, 0))
    theirs = world.bob.pa(world.bob.pages(1))
    assert alice.resume(theirs >> 32, theirs & MASK32, a5=COOKIE) == Return.EBADADDR
    mine = alice.pages(1) + 8
    assert alice.resume(mine >> 32, mine & MASK32, a5=COOKIE) == Return.EBADADDR
    assert give_page(alice)[1] == smc.Rpc.ALLOC
    assert give_page(alice)[1] == Return.ERESUME
    assert world.refused("optee.cookie") == 1
    assert alice.resume() == Return.OK  # "there is no memory"


def test_who_listens_hears_what_the_mediator_refuses(world, alice):
    heard = []
    world.system.heard = lambda _pe, refusal: heard.append(refusal.rule.id)
    assert alice.resume() == Return.ERESUME
    assert heard == ["optee.resume"]
    world.system.heard = None
    assert alice.resume() == Return.ERESUME
    assert len(heard) == 1


def test_a_page_has_both_words_of_its_cookie(world, alice):
    rpc_to(world, alice, (smc.Rpc.ALLOC, PAGE, 0), (smc.Rpc.FREE, 1, COOKIE))
    page = alice.pages(1)
    assert alice.resume(page >> 32, page & MASK32, a4=1, a5=COOKIE) == smc.Rpc.FREE
    assert world.taken == 1
    assert alice.resume() == Return.OK
    assert world.taken == 0


def test_a_request_is_shown_in_the_page_of_both_words_of_its_cookie(world, alice):
    """Two pages whose cookies have the same low word."""
    memory, pages = world.system.machine.memory, alice.pages(2)
    rpc_to(world, alice, (smc.Rpc.ALLOC, PAGE, 0), (smc.Rpc.ALLOC, PAGE, 0))
    for high, rpcs in ((1, []), (2, [(smc.Rpc.FOREIGN_INTR, 0, 0), (smc.Rpc.CMD, 2, COOKIE)])):
        world.tee.rpcs += rpcs
        page = pages + (high - 1) * PAGE
        alice.resume(page >> 32, page & MASK32, a4=high, a5=COOKIE)
    request = m.Message(rpc.Command.FS, params=[m.Value(Type.VALUE_INOUT, 7)])
    memory.write(shadow_of(world), m.build_message(request), secure=False)
    assert alice.resume() == smc.Rpc.CMD
    assert alice.got(pages + PAGE) == request
    assert alice.memory.read(pages, PAGE) == bytes(PAGE)


def test_pages_for_messages_come_back(world, alice):
    rpc_to(world, alice, (smc.Rpc.ALLOC, PAGE, 0), (smc.Rpc.FREE, 0, COOKIE))
    assert give_page(alice)[1] == smc.Rpc.FREE
    assert world.taken == 1
    alice.resume()
    assert world.taken == 0
    rpc_to(world, alice, (smc.Rpc.ALLOC, PAGE, 0))
    assert give_page(alice)[1] == Return.OK
    assert world.taken == 1
    alice.smc(smc.DISABLE_SHM_CACHE)
    assert world.taken == 0


# The end


def test_a_vm_that_dies_leaves_nothing_with_optee(world, alice):
    rpc_to(world, alice, (smc.Rpc.ALLOC, PAGE, 0), (smc.Rpc.FOREIGN_INTR, 0, 0))
    give_page(alice)
    before = world.hypervisor.pool.in_use
    assert world.taken == 2
    world.system.destroy_vm("alice")
    world.system.run()
    assert world.tee.guests == {2}
    assert world.tee.calls[-1][0:2] == [smc.VM_DESTROYED, 1]
    assert 1 not in world.hypervisor.mediator.clients
    assert world.hypervisor.pool.in_use <= before - 2
    assert world.bob.call(world.bob.put()) == Return.OK
    assert world.bob.resume() == Return.ERESUME


def test_a_vm_may_die_while_optee_executes_its_call(world, alice):
    at = alice.put()

    def serve(message):
        world.system.destroy_vm("alice")

    world.tee.serve = serve
    with pytest.raises(Blocked):
        alice.call(at)
    world.tee.serve = lambda message: None
    world.system.run()
    assert world.tee.guests == {2}
    assert [x[0] for x in world.tee.calls[-2:]] == [smc.CALL_WITH_ARG, smc.VM_DESTROYED]
    assert world.bob.call(world.bob.put()) == Return.OK


WORDS = st.one_of(st.integers(0, 12), st.sampled_from([0x4000_0000, 0x4000_1000, MASK64, 1 << 40]))


@given(
    data=st.binary(max_size=256),
    params=st.lists(st.tuples(*[WORDS] * 4), max_size=4),
    resumes=st.lists(st.tuples(*[WORDS] * 5), max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_no_message_does_harm(world, data, params, resumes):
    alice = world.alice
    page = world.alice.stage2 and 0x4010_0000
    body = b"".join(word.to_bytes(8, "little") for param in params for word in param)
    alice.memory.write(page, bytes(PAGE))
    alice.memory.write(
        page, (data if not params else bytes(28) + bytes([len(params), 0, 0, 0]) + body)
    )
    alice.smc(smc.CALL_WITH_ARG, 0, page)
    for resume in resumes:
        alice.resume(*resume)
    assert world.taken == 0
    assert world.bob.smc(smc.CALLS_UID) == smc.MESSAGE_UID
