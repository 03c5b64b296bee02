"""One Replay Protected Memory Block, of which each VM has a part that is its own."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi import rpmb
from ffabric.abi.optee import message as m
from ffabric.abi.optee import rpc
from ffabric.abi.optee.message import Type as Param
from ffabric.abi.optee.tee import Result as Tee
from ffabric.abi.rpmb import BLOCK, Frame, Result, Type
from ffabric.firmware.hypervisor.optee.own_rpcs import OwnRpcs
from ffabric.firmware.hypervisor.optee.rpmb import RpmbFailed, SharedRpmb
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.lab.xtest.apps.storage import Command as Store
from ffabric.lab.xtest.apps.storage import StorageApp
from ffabric.machine.devices.rpmb import RpmbPartition
from ffabric.system.description.python import trusted_os, vm
from ffabric.system.options.problems import SystemErrors
from smc_client import Client

CARD_KEY, ALICE, BOB = b"h" * 32, b"a" * 32, b"b" * 32
SIZE = 8


def shared(card=None, size=SIZE):
    return SharedRpmb(card or RpmbPartition(3 * (size + 1), bytes(16)), CARD_KEY, size)


def ask(part, frames, answers=1):
    return rpmb.parse(part.request(rpmb.build(frames), answers))


def programmed(part, key):
    assert ask(part, [Frame(Type.PROGRAM_KEY, mac=key)])[0].result == Result.OK
    return part


def counter(part):
    return ask(part, [Frame(Type.READ_COUNTER)])[0].counter


def write(part, key, address, data, count=None):
    frame = Frame(
        Type.WRITE, data.ljust(BLOCK, b"\0"), address=address, count=1,
        counter=counter(part) if count is None else count,
    )  # fmt: skip
    return ask(part, rpmb.signed(key, [frame]))[0].result


def read(part, address, count=1):
    frames = ask(part, [Frame(Type.READ, address=address)], count)
    return frames, b"".join(each.data for each in frames).rstrip(b"\0")


@pytest.fixture
def two():
    both = shared()
    return programmed(both.part_of("alice"), ALICE), programmed(both.part_of("bob"), BOB)


def test_each_vm_has_a_key_a_counter_and_blocks_of_its_own(two):
    alice, bob = two
    for number in range(3):
        assert write(alice, ALICE, 0, b"alice %d" % number) == Result.OK
    assert write(bob, BOB, 0, b"bob") == Result.OK
    assert (counter(alice), counter(bob)) == (3, 1)
    assert (read(alice, 0)[1], read(bob, 0)[1]) == (b"alice 2", b"bob")
    assert alice.cid != bob.cid


def test_frames_of_one_vm_are_nothing_to_another(two):
    alice, bob = two
    assert write(bob, ALICE, 0, b"mine") == Result.AUTHENTICATION
    assert write(bob, CARD_KEY, 0, b"mine") == Result.AUTHENTICATION
    assert (counter(bob), read(bob, 0)[1]) == (0, b"")
    assert write(alice, ALICE, 0, b"mine") == Result.OK


def test_a_write_of_a_vm_is_not_made_again(two):
    alice, bob = two
    assert write(alice, ALICE, 0, b"once", 0) == Result.OK
    write(bob, BOB, 0, b"x")  # what others do turns nothing back
    assert write(alice, ALICE, 0, b"once", 0) == Result.COUNTER


def test_a_part_ends_where_the_next_begins(two):
    alice, bob = two
    assert write(alice, ALICE, SIZE - 1, b"last") == Result.OK
    assert write(alice, ALICE, SIZE, b"beyond") == Result.ADDRESS
    assert read(alice, SIZE)[0][0].result == Result.ADDRESS
    assert read(alice, 0, SIZE + 1)[0][0].result == Result.ADDRESS
    assert read(bob, 0)[1] == b""


def test_there_are_so_many_parts():
    both = shared()
    assert both.room == 3
    assert [both.part_of(name) is not None for name in "abcd"] == [True, True, True, False]
    assert both.part_of("a") is both.part_of("a")


def test_the_next_boot_finds_all_of_it():
    card = RpmbPartition(3 * (SIZE + 1), bytes(16))
    alice = programmed(shared(card).part_of("alice"), ALICE)
    write(alice, ALICE, 2, b"kept")
    again = shared(card)
    bob = again.part_of("bob")
    alice = again.part_of("alice")
    assert (counter(alice), read(alice, 2)[1]) == (1, b"kept")
    assert write(alice, ALICE, 2, b"old", 0) == Result.COUNTER
    assert read(bob, 2)[0][0].result == Result.NO_KEY
    assert ask(alice, [Frame(Type.PROGRAM_KEY, mac=BOB)])[0].result == Result.GENERAL


def test_a_card_of_somebody_else_is_none():
    card = RpmbPartition(3 * (SIZE + 1), bytes(16))
    SharedRpmb(card, BOB, SIZE)
    with pytest.raises(RpmbFailed):
        shared(card)


def test_a_card_whose_content_is_turned_back_is_noticed(two):
    alice, bob = two
    card = alice._shared._card
    write(alice, ALICE, 0, b"new")
    card._counter -= 1  # another card, or one that lies
    with pytest.raises(RpmbFailed):
        write(bob, BOB, 0, b"x", 0)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.integers(0, SIZE), st.binary(min_size=1, max_size=4),
            st.booleans(),
        ), max_size=20,
    )
)  # fmt: skip
def test_any_writes_of_three_vms_are_as_if_each_had_a_card(writes):
    both = shared()
    keys = {name: name.encode() * 32 for name in "abc"}
    parts = {name: programmed(both.part_of(name), keys[name]) for name in "abc"}
    alone = {name: programmed(RpmbPartition(SIZE, bytes(16)), keys[name]) for name in "abc"}
    for name, address, data, honest in writes:
        key = keys[name] if honest else keys["abc"[("abc".index(name) + 1) % 3]]
        got, wanted = (write(side[name], key, address, data) for side in (parts, alone))
        assert got == wanted
    for name in "abc":
        assert counter(parts[name]) == counter(alone[name])
        assert read(parts[name], 0, SIZE)[1] == read(alone[name], 0, SIZE)[1]


# Through the mediator, to the OP-TEE of two VMs


class Storing(Client):
    """A client with a session of the TA that stores."""

    def __init__(self, handle, files):
        super().__init__(handle, files)
        self.session = self.open(UUID(StorageApp.uuid))


class Place:
    """Two VMs, each with files; ``card`` is the hypervisor's."""

    def __init__(self, ffabric, card=None, files=None):
        self.core = OpTee.below_el3(StorageApp, vms=2)
        self.session = ffabric.boot(
            vms=[vm(each, mem_size=16 << 20) for each in ("alice", "bob")],
            trusted_os=trusted_os(self.core, vcpus=2, rpmb=2),
            pes=2,
        )
        self.system = self.session.system
        self.system.run()
        if card is not None:
            self.system.hypervisor.mediator.own_rpcs = OwnRpcs(SharedRpmb(card, CARD_KEY))
        self.files = files or {"alice": {}, "bob": {}}
        self.alice, self.bob = (self.client(each) for each in ("alice", "bob"))

    def client(self, name):
        return Storing(self.session.vm(name), self.files[name])

    @property
    def shared(self):
        return self.system.hypervisor.mediator.own_rpcs.shared


def store(client, data, flags=7 | 0x400):
    at = client.pages()
    client.memory.write(at, data)
    made = client.invoke(
        client.session, Store.CREATE, m.Tmem(Param.TMEM_INPUT, at, 4), m.Value(3, flags),
        m.Value(1, 0, 1), m.Tmem(Param.TMEM_INPUT, at, len(data)),
    )  # fmt: skip
    client.invoke(client.session, Store.CLOSE, m.Value(1, made[1].b))


def stored(client, name):
    at = client.pages()
    client.memory.write(at, name)
    opened = client.invoke(
        client.session, Store.OPEN, m.Tmem(Param.TMEM_INPUT, at, 4), m.Value(3, 1), m.Value(1, 1)
    )
    client.invoke(
        client.session, Store.READ, m.Tmem(Param.TMEM_OUTPUT, at, 64), m.Value(3, opened[1].b)
    )
    return client.memory.read(at, 4)


def copied(files):
    return {name: {each: bytearray(data) for each, data in kept.items()}
            for name, kept in files.items()}  # fmt: skip


def test_no_vm_is_asked_for_what_the_mediator_serves(ffabric):
    pytest.importorskip("cryptography")
    place = Place(ffabric)
    store(place.alice, b"note")
    assert "SHM_ALLOC" in place.alice.served
    assert not {each for each in place.alice.served if "RPMB" in each}
    assert counter(place.shared.part_of("alice")) == 1
    assert counter(place.shared.part_of("bob")) == 0
    for client in (place.alice, place.bob):
        assert client.given == {}


def test_files_that_were_put_back_as_a_whole_are_noticed(ffabric):
    pytest.importorskip("cryptography")
    card = RpmbPartition(2 * (rpmb.UNIT + 1), bytes(16))
    place = Place(ffabric, card)
    store(place.alice, b"old1")
    store(place.bob, b"bobs")
    old = copied(place.files)
    store(place.alice, b"new1")
    place = Place(ffabric, card, copied(place.files))  # the next boot
    assert stored(place.alice, b"new1") == b"new1"
    place = Place(ffabric, card, old)
    with pytest.raises(TeeError, match="CORRUPT_OBJECT"):
        stored(place.alice, b"old1")
    assert stored(place.bob, b"bobs") == b"bobs"  # nobody else is concerned


def test_without_such_a_device_the_vm_is_asked(ffabric):
    pytest.importorskip("cryptography")
    place = Place(ffabric)
    place.system.hypervisor.mediator.own_rpcs = None
    store(place.alice, b"note")
    assert place.alice.served.count("RPMB_PROBE_RESET") == 1
    assert stored(place.alice, b"note") == b"note"


@pytest.mark.parametrize(
    "params",
    [
        [],
        [m.Value(1), m.Value(1)],
        [m.Rmem(Param.FMEM_INPUT, 0, 512, 99), m.Rmem(Param.FMEM_OUTPUT, 0, 512, 99)],
        [m.Rmem(Param.FMEM_INPUT, 1 << 40, 512, 1), m.Rmem(Param.FMEM_OUTPUT, 0, 512, 1)],
        [m.Tmem(Param.TMEM_INPUT, 1 << 40, 512, 1), m.Rmem(Param.FMEM_OUTPUT, 0, 512, 1)],
        [m.Rmem(Param.FMEM_INPUT, 0, 1 << 40, 1), m.Rmem(Param.FMEM_OUTPUT, 0, 512, 1)],
    ],
)
def test_a_request_that_names_no_memory_of_the_vms(ffabric, params):
    place = Place(ffabric)
    mediator = place.system.hypervisor.mediator
    client = mediator.clients[place.alice.handle.id]
    client.guest.keep(1, [place.alice.pages()], 0)
    request = m.Message(rpc.Command.RPMB_FRAMES, params=params)
    assert mediator.own_rpcs.serve(client, request).ret == Tee.BAD_PARAMETERS


class Older:
    """Alice's OP-TEE, which asks with the RPC that tee-supplicant serves."""

    def __init__(self, ffabric):
        place = Place(ffabric)
        self.own = place.system.hypervisor.mediator.own_rpcs
        self.client = place.system.hypervisor.mediator.clients[place.alice.handle.id]
        self.memory = place.alice.memory
        self.page = place.alice.pages()
        self.client.guest.keep(1, [self.page], 0)

    def ask(self, what, frames=(), *, device=0, room=512, header=rpc.RPMB_REQUEST.size):
        data = rpc.RPMB_REQUEST.pack(what, device, 1)[:header] + rpmb.build(frames)
        self.memory.write(self.page, data)
        params = [
            m.Rmem(Param.FMEM_INPUT, 0, len(data), 1),
            m.Rmem(Param.FMEM_OUTPUT, 0x800, room, 1),
        ]
        answer = self.own.serve(self.client, m.Message(rpc.Command.RPMB, params=params))
        return answer.ret, self.memory.read(self.page + 0x800, answer.params[1].size)


def test_an_op_tee_that_programs_the_key_has_its_vms_part_too(ffabric):
    older = Older(ffabric)
    part = older.own.shared.part_of("alice")
    found, data = older.ask(rpc.RPMB_DEVICE_INFO)
    assert (found, rpc.RPMB_DEVICE.unpack(data)) == (Tee.SUCCESS, (part.cid, 1, 1, 0))
    found, data = older.ask(rpc.RPMB_DATA, [Frame(Type.PROGRAM_KEY, mac=ALICE)])
    assert (found, rpmb.parse(data)[0].result) == (Tee.SUCCESS, Result.OK)
    assert write(part, ALICE, 3, b"mine") == Result.OK
    found, data = older.ask(rpc.RPMB_DATA, [Frame(Type.READ, address=3)])
    assert (found, rpmb.parse(data)[0].data[:4]) == (Tee.SUCCESS, b"mine")


@pytest.mark.parametrize(
    ("wrong", "result"),
    [
        ({"what": 2}, Tee.BAD_PARAMETERS),
        ({"what": rpc.RPMB_DATA, "header": 5}, Tee.BAD_PARAMETERS),
        ({"what": rpc.RPMB_DEVICE_INFO, "device": 1}, Tee.ITEM_NOT_FOUND),
        ({"what": rpc.RPMB_DEVICE_INFO, "room": 18}, Tee.SHORT_BUFFER),
    ],
)
def test_the_older_request_is_judged(ffabric, wrong, result):
    assert Older(ffabric).ask(**wrong)[0] == result


@pytest.mark.parametrize(
    ("given", "problem"),
    [({"rpmb": 0}, "1 to 127 VMs"), ({"rpmb": 128}, "1 to 127 VMs")],
)
def test_as_many_parts_as_a_card_has(ffabric, given, problem):
    with pytest.raises(SystemErrors, match=problem):
        ffabric.boot(vms=["alice"], trusted_os=trusted_os(OpTee.below_el3(), **given))


def test_without_a_hypervisor_nobody_shares_it_out(ffabric):
    with pytest.raises(SystemErrors, match="nobody shares it out"):
        ffabric.boot(
            vms=["kernel"], hypervisor=False, trusted_os=trusted_os(OpTee.below_el3(), rpmb=1)
        )
