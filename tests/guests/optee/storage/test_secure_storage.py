"""Persistent objects, as a client of a TA has them; the normal world keeps their files."""

import pytest

from ffabric.abi.optee.message import Type, Value
from ffabric.abi.optee.rpc import Fs
from ffabric.abi.optee.tee import Result
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.normal_world.supplicant import Supplicant
from ffabric.guests.optee.storage.objects import MAX_DATA, Flags, StorageId, Whence
from ffabric.guests.optee.storage.sealing import OVERHEAD, seal, unseal
from ffabric.lab.xtest.apps.storage import Command, StorageApp
from ffabric.session.optee import BlockingDriver

pytest.importorskip("cryptography")

READ, WRITE, META = Flags.ACCESS_READ, Flags.ACCESS_WRITE, Flags.ACCESS_WRITE_META
ALL = READ | WRITE | META


class Other(StorageApp):
    """Another TA that stores objects."""

    uuid = "b689f2a7-8adf-477a-9f99-32e90c0ad0a3"


class Client:
    """A client of a TA that stores, with a session."""

    def __init__(self, driver, ta=StorageApp.uuid):
        self.driver = driver
        self.session = driver.open_session(ta)
        self.memory = driver.allocate(1 << 16)

    def call(self, command, *params):
        return self.driver.invoke(self.session, command, *params)

    def given(self, data, at=0):
        self.memory.write(data, at)
        return self.memory.input(len(data), at)

    def create(self, name, data=b"", flags=ALL, where=StorageId.PRIVATE):
        made = self.call(
            Command.CREATE,
            self.given(name),
            Value(Type.VALUE_INOUT, flags),
            Value(Type.VALUE_INPUT, 0, where),
            self.given(data, 256),
        )
        return made[1].b

    def open(self, name, flags=ALL, where=StorageId.PRIVATE):
        opened = self.call(
            Command.OPEN,
            self.given(name),
            Value(Type.VALUE_INOUT, flags),
            Value(Type.VALUE_INPUT, where),
        )
        return opened[1].b

    def read(self, number, size):
        got = self.call(Command.READ, self.memory.output(size), Value(Type.VALUE_INOUT, number))
        return self.memory.read(got[1].b)

    def write(self, number, data):
        self.call(Command.WRITE, self.given(data), Value(Type.VALUE_INPUT, number))

    def seek(self, number, offset, whence):
        moved = self.call(
            Command.SEEK,
            Value(Type.VALUE_INPUT, number, offset & 0xFFFF_FFFF),
            Value(Type.VALUE_INOUT, whence),
        )
        return moved[1].b

    def on(self, command, number, more=0):
        self.call(command, Value(Type.VALUE_INPUT, number, more))

    def rename(self, number, name):
        self.call(Command.RENAME, Value(Type.VALUE_INPUT, number), self.given(name))

    def listed(self, where=StorageId.PRIVATE):
        number = self.call(Command.ALLOC_ENUM, Value(Type.VALUE_OUTPUT))[0].a
        names: list[tuple[bytes, int]] = []
        try:
            self.on(Command.START_ENUM, number, where)
            while True:
                names.append(self.next_of(number))
        except TeeError as error:
            if error.result != Result.ITEM_NOT_FOUND:
                raise
        return names

    def next_of(self, enumerator):
        got = self.call(
            Command.NEXT_ENUM,
            Value(Type.VALUE_INPUT, enumerator),
            self.memory.output(28, 256),
            self.memory.output(64),
        )
        size = int.from_bytes(self.memory.read(4, 256 + 16), "little")
        return self.memory.read(got[2].size), size


class Place:
    """A system whose VM keeps `files`, with `supplicant` to change what it does."""

    def __init__(self, ffabric, files, **given):
        self.system = ffabric.boot(sps=[OpTee(StorageApp, Other, **given)], vms=["alice", "bob"])
        self.files = files
        self.client = self.client_of("alice", files)

    def client_of(self, name, files):
        driver = BlockingDriver(self.system.vm(name).ffa)
        driver.probe()
        driver.state.supplicant = Supplicant(files=files)
        return Client(driver)


@pytest.fixture
def place(ffabric):
    return Place(ffabric, {})


def refused(result, call, *args):
    with pytest.raises(TeeError) as caught:
        call(*args)
    assert caught.value.result == result, caught.value


def test_what_is_stored_is_read_again(place):
    client = place.client
    number = client.create(b"note", b"remember")
    assert client.read(number, 100) == b"remember"
    client.on(Command.CLOSE, number)
    assert client.read(client.open(b"note"), 5) == b"remem"


def test_the_next_boot_finds_it_by_the_files_that_were_kept(ffabric, place):
    place.client.create(b"note", b"remember")
    again = Place(ffabric, place.files)
    assert again.client.read(again.client.open(b"note"), 100) == b"remember"


def test_who_has_another_hardware_key_reads_nothing(ffabric, place):
    class OtherDevice(OpTee):
        huk = b"\x01" * 32

    place.client.create(b"note", b"remember")
    system = ffabric.boot(sps=[OtherDevice(StorageApp)], vms=["alice"])
    driver = BlockingDriver(system.vm("alice").ffa)
    driver.probe()
    driver.state.supplicant = Supplicant(files=place.files)
    refused(Result.CORRUPT_OBJECT, Client(driver).open, b"note")


def test_the_files_show_nothing_of_it(place):
    place.client.create(b"a name to be kept", b"a secret to be kept" * 9)
    kept = b"".join(bytes(each) for each in place.files.values())
    assert b"to be kept" not in kept
    assert len(kept) > 9 * 19


def test_an_object_is_its_tas(place):
    place.client.create(b"note", b"mine")
    other = Client(place.client.driver, Other.uuid)
    refused(Result.ITEM_NOT_FOUND, other.open, b"note")
    other.create(b"note", b"another")
    assert other.listed() == [(b"note", 7)]
    assert place.client.listed() == [(b"note", 4)]


def test_objects_are_listed_with_their_sizes(place):
    client = place.client
    assert client.listed() == []
    for name in (b"a", b"bb", b""):
        client.create(name, name * 3)
    assert client.listed() == [(b"a", 3), (b"bb", 6), (b"", 0)]


def test_data_grows_and_shrinks(place):
    client = place.client
    number = client.create(b"data", b"0123456789")
    assert client.seek(number, 8, Whence.SET) == 8
    client.write(number, b"abcd")
    assert client.seek(number, -2, Whence.CURRENT) == 10
    assert client.read(number, 100) == b"cd"
    client.on(Command.TRUNC, number, 4)
    client.on(Command.TRUNC, number, 6)
    assert client.seek(number, 0, Whence.SET) == 0
    assert client.read(number, 100) == b"0123\0\0"
    assert client.seek(number, 3, Whence.END) == 9
    client.write(number, b"!")
    client.seek(number, 0, Whence.SET)
    assert client.read(number, 100) == b"0123\0\0\0\0\0!"


def test_a_position_is_never_before_the_beginning(place):
    number = place.client.create(b"data", b"0123")
    assert place.client.seek(number, -9, Whence.CURRENT) == 0


def test_data_has_a_bound(place):
    number = place.client.create(b"data")
    refused(Result.STORAGE_NO_SPACE, place.client.on, Command.TRUNC, number, MAX_DATA + 1)
    place.client.on(Command.TRUNC, number, 3 << 15)  # more than is written at a time
    assert place.client.listed() == [(b"data", 3 << 15)]


def test_a_new_name(place):
    client = place.client
    number = client.create(b"old", b"data")
    client.create(b"taken")
    refused(Result.ACCESS_CONFLICT, client.rename, number, b"taken")
    client.rename(number, b"new")
    client.on(Command.CLOSE, number)
    refused(Result.ITEM_NOT_FOUND, client.open, b"old")
    assert client.read(client.open(b"new"), 9) == b"data"


def test_an_object_that_is_removed_is_no_more_and_leaves_no_file(place):
    client = place.client
    before = set(place.files)
    number = client.create(b"note", b"data")
    client.on(Command.UNLINK, number)
    refused(Result.ITEM_NOT_FOUND, client.open, b"note")
    assert {each for each in place.files if "dirf" not in each} == before


def test_there_is_one_object_of_a_name(place):
    client = place.client
    client.on(Command.CLOSE, client.create(b"note", b"old"))
    refused(Result.ACCESS_CONFLICT, client.create, b"note", b"new")
    number = client.create(b"note", b"new", ALL | Flags.OVERWRITE)
    assert client.read(number, 9) == b"new"
    refused(Result.ACCESS_CONFLICT, client.create, b"note", b"", ALL | Flags.OVERWRITE)


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        (READ, READ, False),
        (READ | Flags.SHARE_READ, READ, False),
        (READ | Flags.SHARE_READ, READ | Flags.SHARE_READ, True),
        (READ | Flags.SHARE_READ, WRITE | Flags.SHARE_WRITE, False),
        (READ | Flags.SHARE_READ | Flags.SHARE_WRITE, WRITE | Flags.SHARE_WRITE, False),
        (
            READ | Flags.SHARE_READ | Flags.SHARE_WRITE,
            WRITE | Flags.SHARE_READ | Flags.SHARE_WRITE,
            True,
        ),
        (META, Flags(0), False),
        (Flags(0), Flags(0), True),
    ],
)
def test_handles_of_one_object_share_what_all_of_them_allow(place, first, second, fits):
    client = place.client
    client.on(Command.CLOSE, client.create(b"note"))
    number = client.open(b"note", first)
    if fits:
        client.open(b"note", second)
    else:
        refused(Result.ACCESS_CONFLICT, client.open, b"note", second)
        client.on(Command.CLOSE, number)
        client.open(b"note", second)


@pytest.mark.parametrize(
    ("rights", "use"),
    [
        (WRITE | META, lambda client, number: client.read(number, 1)),
        (READ | META, lambda client, number: client.write(number, b"x")),
        (READ | META, lambda client, number: client.on(Command.TRUNC, number)),
        (READ | WRITE, lambda client, number: client.on(Command.UNLINK, number)),
        (READ | WRITE, lambda client, number: client.rename(number, b"x")),
        (ALL, lambda client, number: client.read(number + 1, 1)),
        (ALL, lambda client, number: client.seek(number, 0, 3)),
        (ALL, lambda client, number: client.rename(number, b"x" * 65)),
    ],
)
def test_a_use_that_the_handle_does_not_allow_is_a_panic(place, rights, use):
    number = place.client.create(b"note", b"data", rights)
    refused(Result.TARGET_DEAD, use, place.client, number)


def test_a_session_that_ends_closes_what_it_has_open(place):
    client = place.client
    client.create(b"note")
    client.driver.close_session(client.session)
    Client(client.driver).open(b"note")


def test_storage_that_there_is_not(place):
    refused(Result.ITEM_NOT_FOUND, place.client.create, b"note", b"", ALL, StorageId.PRIVATE_RPMB)
    place.client.create(b"note", b"", ALL, StorageId.PRIVATE_REE)


def test_nobody_keeps_files(place):
    place.client.driver.state.supplicant = None
    refused(Result.STORAGE_NOT_AVAILABLE, place.client.create, b"note")


def test_a_change_that_fails_leaves_what_there_was(place):
    class Full(Supplicant):
        full = True

        def serve(self, command, params, memory):
            if self.full and params[0].a == Fs.WRITE:
                raise TeeError(Result.STORAGE_NO_SPACE)
            return super().serve(command, params, memory)

    client = place.client
    number = client.create(b"note", b"old")
    full = Full(files=place.files)
    client.driver.state.supplicant = full
    refused(Result.STORAGE_NO_SPACE, client.write, number, b"new")
    refused(Result.STORAGE_NO_SPACE, client.create, b"other")
    full.full = False
    assert client.read(number, 9) == b"old"
    assert client.listed() == [(b"note", 3)]
    client.write(number, b"new")


def changed(data, at=20):
    data[at] ^= 1


@pytest.mark.parametrize(
    "harm",
    [
        lambda files, name: changed(files[name]),
        lambda files, name: files.pop(name),
        lambda files, name: files[name].extend(b"more"),
        lambda files, name: files[name].clear(),
        lambda files, name: files.update({name: bytearray(9 << 20)}),
    ],
)
def test_a_file_that_was_changed_is_no_object(place, harm):
    client = place.client
    client.on(Command.CLOSE, client.create(b"note", b"data"))
    (name,) = (each for each in place.files if "dirf" not in each)
    harm(place.files, name)
    refused(Result.CORRUPT_OBJECT, client.open, b"note")
    client.create(b"another")


def test_an_older_file_of_an_object_is_not_taken_for_it(place):
    client = place.client
    number = client.create(b"note", b"old")
    (name,) = (each for each in place.files if "dirf" not in each)
    old = bytes(place.files[name])
    client.write(number, b"new")
    client.on(Command.CLOSE, number)
    (name,) = (each for each in place.files if "dirf" not in each)
    place.files[name][:] = old
    refused(Result.CORRUPT_OBJECT, client.open, b"note")


def test_one_of_the_two_directories_does(ffabric, place):
    place.client.create(b"first")
    place.client.create(b"second")
    slots = sorted(each for each in place.files if "dirf" in each)
    for slot, found in ((slots[0], [(b"first", 0)]), (slots[1], [(b"first", 0), (b"second", 0)])):
        files = {name: bytearray(data) for name, data in place.files.items()}
        changed(files[slot])
        assert Place(ffabric, files).client.listed() == found


def test_two_broken_directories_are_no_storage(ffabric, place):
    place.client.create(b"first")
    place.client.create(b"second")
    for name in [each for each in place.files if "dirf" in each]:
        changed(place.files[name])
    refused(Result.CORRUPT_OBJECT, Place(ffabric, place.files).client.open, b"first")


def test_a_session_that_is_open_is_not_rolled_back(place):
    client = place.client
    client.create(b"first")
    old = {name: bytes(data) for name, data in place.files.items()}
    number = client.create(b"second", b"data")
    place.files.clear()
    place.files.update({name: bytearray(data) for name, data in old.items()})
    assert client.read(number, 9) == b"data"
    assert client.listed() == [(b"first", 0), (b"second", 4)]


def test_vms_have_storage_apart(ffabric):
    place = Place(ffabric, {}, vms=2)
    bob = place.client_of("bob", place.files)
    place.client.create(b"note", b"alice's")
    refused(Result.CORRUPT_OBJECT, bob.open, b"note")  # it has files, but not the key


def test_contents_are_bound_to_key_and_context():
    key = bytes(32)
    sealed = seal(key, b"content", b"here")
    assert len(sealed) == len(b"content") + OVERHEAD
    assert unseal(key, sealed, b"here") == b"content"
    for other in ((b"\x01" * 32, sealed, b"here"), (key, sealed, b"there"), (key, b"", b"here")):
        refused(Result.CORRUPT_OBJECT, unseal, *other)


def test_two_contents_have_two_nonces_and_one_has_one():
    key = bytes(32)
    assert seal(key, b"a", b"")[:12] != seal(key, b"b", b"")[:12]
    assert seal(key, b"a", b"") == seal(key, b"a", b"")
    assert seal(key, b"b", b"a")[:12] != seal(key, b"ab", b"")[:12]
