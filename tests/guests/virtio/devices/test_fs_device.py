"""Files in an SP, asked by a VM with FUSE requests, and what is no request."""

import errno
import random
import struct

import pytest
from device_trials import MODES, run

from ffabric.abi.virtio import fuse as abi
from ffabric.abi.virtio.fuse import Op
from ffabric.virtio import devices, drivers


@MODES
def test_files_are_written_listed_and_read(ffabric, how):
    fs = devices.FsDevice(tag="shared")
    content = random.Random(1).randbytes(200_000)

    async def work(bus):
        driver = await drivers.FsDriver.probe(bus.devices[0])
        assert driver.tag == "shared"
        assert await driver.list() == []
        await driver.make_folder("a")
        await driver.make_folder("a/b")
        await driver.write("a/b/large", content)
        await driver.write("a/small", b"x")
        await driver.write("a/small", b"")
        await driver.link("a/link", "b/large")
        assert await driver.read("a/b/large") == content
        assert await driver.read_link("a/link") == "b/large"
        assert await driver.list("a") == ["b", "link", "small"]
        assert (await driver.stat("a/b/large")).size == len(content)
        await driver.rename("a/b/large", "moved")
        await driver.remove_file("a/small")
        await driver.remove_folder("a/b")
        assert sorted(await driver.walk()) == ["a", "a/link", "moved"]
        await driver.remove()

    run(ffabric, [fs], work, **how)
    assert fs.tree.files() == {"moved": content}
    assert fs.tree.bytes == len(content) + len("b/large")


def test_a_folder_of_the_host_as_it_is(ffabric, tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_bytes(b"content")
    (tmp_path / "out").symlink_to("/etc")
    fs = devices.FsDevice(devices.read_folder(tmp_path))
    found = {}

    async def work(bus):
        driver = await drivers.FsDriver.probe(bus.devices[0])
        for path, entry in (await driver.walk()).items():
            found[path] = await driver.read(path) if entry.is_file else entry.is_folder
        await driver.write("deep/er/file", b"changed")

    run(ffabric, [fs], work)
    assert found == {"deep": True, "deep/er": True, "deep/er/file": b"content", "out": False}
    assert (tmp_path / "deep" / "er" / "file").read_bytes() == b"content"


def test_many_names_take_several_answers(ffabric):
    fs = devices.FsDevice()
    names = [f"name-{number:04}-{'x' * 200}" for number in range(900)]
    for name in names:
        fs.tree.create(abi.ROOT, name.encode(), 0o100644)

    async def work(bus):
        driver = await drivers.FsDriver.probe(bus.devices[0])
        assert await driver.list() == names

    run(ffabric, [fs], work, static=256)


@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        (lambda fs: fs.stat("none"), FileNotFoundError),
        (lambda fs: fs.read("folder"), IsADirectoryError),
        (lambda fs: fs.list("file"), NotADirectoryError),
        (lambda fs: fs.stat("file/below"), NotADirectoryError),
        (lambda fs: fs.make_folder("folder"), FileExistsError),
        (lambda fs: fs.remove_file("folder"), IsADirectoryError),
        (lambda fs: fs.remove_folder("file"), NotADirectoryError),
        (lambda fs: fs.remove_folder("folder"), OSError),
        (lambda fs: fs.rename("folder", "folder/sub/below"), OSError),
        (lambda fs: fs.rename("file", "folder"), IsADirectoryError),
        (lambda fs: fs.rename("folder", "file"), NotADirectoryError),
        (lambda fs: fs.make_folder("n" * 256), OSError),
        (lambda fs: fs.make_folder(".."), OSError),
        (lambda fs: fs.read_link("file"), OSError),
    ],
)
def test_what_cannot_be_done_says_why_and_changes_nothing(ffabric, attempt, error):
    fs = devices.FsDevice()
    folder = fs.tree.create(abi.ROOT, b"folder", 0o40755)
    fs.tree.create(folder.id, b"sub", 0o40755)
    fs.tree.create(abi.ROOT, b"file", 0o100644, b"x")

    async def work(bus):
        driver = await drivers.FsDriver.probe(bus.devices[0])
        before = await driver.walk()
        with pytest.raises(error):
            await attempt(driver)
        assert await driver.walk() == before
        await driver.rename("file", "folder/sub/moved")
        assert await driver.read("folder/sub/moved") == b"x"

    run(ffabric, [fs], work)


def test_a_file_that_is_open_outlives_its_name(ffabric):
    fs = devices.FsDevice()

    async def work(bus):
        driver = await drivers.FsDriver.probe(bus.devices[0])
        await driver.write("file", b"still here")
        node = (await driver.stat("file")).node
        handle = await driver._open(Op.OPEN, node, "file")
        await driver.remove_file("file")
        assert await driver._part(Op.READ, node, handle, 0) == b"still here"
        await driver._release(Op.RELEASE, node, handle)
        with pytest.raises(OSError, match="Stale"):
            await driver._part(Op.READ, node, handle, 0)

    run(ffabric, [fs], work)
    assert fs.tree.bytes == 0
    assert list(fs.tree.nodes) == [abi.ROOT]


def test_there_is_room_for_so_much_and_no_more(ffabric):
    fs = devices.FsDevice()

    async def work(bus):
        driver = await drivers.FsDriver.probe(bus.devices[0])
        await driver.write("file", b"x")
        node = (await driver.stat("file")).node
        for size in (1 << 40, (1 << 64) - 1):
            arguments = abi.SETATTR_IN.pack(abi.SET_SIZE, 0, size, *(0,) * 4, *(0,) * 6)
            with pytest.raises(OSError, match="No space left"):
                await driver._call(Op.SETATTR, node, arguments)
            write = abi.WRITE_IN.pack(0, size, 1, 0, 0, 0) + b"x"
            with pytest.raises(OSError, match="No space left"):
                await driver._call(Op.WRITE, node, write)
        assert await driver.read("file") == b"x"

    run(ffabric, [fs], work)


HEADER = struct.Struct("<IIQQIIIHH")
RENAME = struct.Struct("<QII")


@pytest.mark.parametrize(
    ("opcode", "body", "error"),
    [
        (Op.LOOKUP, b"", errno.EINVAL),
        (Op.LOOKUP, b"no end", errno.EINVAL),
        (Op.LOOKUP, b"none\0", errno.ENOENT),
        (Op.RENAME, bytes(8) + b"one\0", errno.EINVAL),
        (Op.READ, bytes(39), errno.EINVAL),
        (Op.WRITE, struct.pack("<QQII16x", 0, 0, 100, 0) + b"short", errno.EINVAL),
        (Op.READ, bytes(40), errno.EISDIR),
        (Op.INIT, struct.pack("<IIII", 6, 0, 0, 0), errno.EPROTO),
        (Op.INIT, bytes(3), errno.EINVAL),
        (Op.MKDIR, bytes(8) + b"a/b\0", errno.EINVAL),
        (Op.MKDIR, bytes(8) + b"\0", errno.EINVAL),
        (9999, b"", errno.ENOSYS),
        (0, b"", errno.ENOSYS),
    ],
)
def test_requests_that_are_wrong_fail_and_nothing_else(ffabric, opcode, body, error):
    async def work(bus):
        driver = await drivers.FsDriver.probe(bus.devices[0])
        page, memory = await driver.allocate(8192), driver.device.memory
        request = HEADER.pack(40 + len(body), opcode, 77, abi.ROOT, 0, 0, 0, 0, 0) + body
        memory.write(page.ipa, request)
        room = (page.address + 4096, 4096, True)
        assert await driver.request(1, [(page.address, len(request), False), room]) == 16
        answer = struct.unpack("<IiQ", memory.read(page.ipa + 4096, 16))
        assert answer == (16, -error, 77)
        assert await driver.list() == []

    run(ffabric, [devices.FsDevice()], work)


@pytest.mark.parametrize("size", [0, 39, 41])
def test_bytes_whose_length_is_not_what_they_say_are_no_request(ffabric, size):
    async def work(bus):
        driver = await drivers.FsDriver.probe(bus.devices[0])
        page = await driver.allocate(8192)
        request = HEADER.pack(40, Op.STATFS, 1, abi.ROOT, 0, 0, 0, 0, 0) + bytes(1)
        driver.device.memory.write(page.ipa, request)
        readable = [(page.address, size, False)] if size else []
        assert await driver.request(1, [*readable, (page.address + 4096, 4096, True)]) == 0

    run(ffabric, [devices.FsDevice()], work)


def test_before_a_session_nothing_is_served(ffabric):
    async def work(bus):
        driver = await drivers.FsDriver.probe(bus.devices[0])
        await driver._call(Op.DESTROY, 0)
        with pytest.raises(OSError, match="Input/output"):
            await driver.list()
        await driver.start()
        assert await driver.list() == []

    run(ffabric, [devices.FsDevice()], work, static=256)


@pytest.mark.parametrize("tag", ["", "x" * 37])
def test_tags_that_no_file_system_has(tag):
    with pytest.raises(ValueError, match="a tag has 1 to 36 bytes"):
        devices.FsDevice(tag=tag)


async def raw(driver, opcode, body=b"", *, node=abi.ROOT, room=4096):
    """What is answered to a request: how many bytes were used, the error, and what follows."""
    page, memory = await driver.allocate(8192), driver.device.memory
    request = HEADER.pack(40 + len(body), opcode, 77, node, 0, 0, 0, 0, 0) + body
    memory.write(page.ipa, request)
    place = (page.address + 4096, room, True)
    used = await driver.request(1, [(page.address, len(request), False), place])
    size, error, unique = struct.unpack("<IiQ", memory.read(page.ipa + 4096, 16))
    assert not used or (size, unique) == (used, 77)
    return used, error, memory.read(page.ipa + 4096 + 16, max(used - 16, 0))


@pytest.mark.parametrize(
    ("opcode", "body", "room", "found"),
    [
        (Op.FORGET, bytes(8), 4096, (0, 0)),
        (Op.BATCH_FORGET, bytes(8), 4096, (0, 0)),
        (Op.STATFS, b"", 15, (0, 0)),
        (Op.STATFS, b"", 16, (16, -errno.ERANGE)),
        (Op.STATFS, b"", 4096, (96, 0)),
        (Op.ACCESS, bytes(8), 4096, (16, 0)),
        (Op.FSYNC, bytes(16), 4096, (16, 0)),
        (
            Op.RENAME2,
            RENAME.pack(1, 1, 0) + b"file\0new\0",
            4096,
            (16, -errno.EINVAL),
        ),
        (Op.RENAME2, RENAME.pack(1, 0, 0) + b"file\0new\0", 4096, (16, 0)),
        (Op.READLINK, b"", 4096, (16, -errno.EINVAL)),
    ],
    ids=str,
)
def test_how_much_of_an_answer_there_is(ffabric, opcode, body, room, found):
    fs = devices.FsDevice()
    fs.tree.create(abi.ROOT, b"file", 0o100644, b"x")

    async def work(bus):
        driver = await drivers.FsDriver.probe(bus.devices[0])
        assert (await raw(driver, opcode, body, room=room))[:2] == found
        assert len(await driver.list()) == 1

    run(ffabric, [fs], work)


def test_a_mode_that_is_set_is_the_permissions_alone(ffabric):
    fs = devices.FsDevice()
    file = fs.tree.create(abi.ROOT, b"file", 0o100644, b"x")

    async def work(bus):
        driver = await drivers.FsDriver.probe(bus.devices[0])
        modes = (0, 0o040600, 0, 0, 0, 0)
        arguments = abi.SETATTR_IN.pack(abi.SET_MODE, 0, 0, *(0,) * 4, *modes)
        await driver._call(Op.SETATTR, file.id, arguments)
        assert await driver.read("file") == b"x"

    run(ffabric, [fs], work)
    assert file.mode & 0o170000 == 0o100000


def test_files_are_open_as_often_as_there_may_be_files_and_no_more(ffabric, monkeypatch):
    monkeypatch.setattr("ffabric.guests.virtio.devices.fs.MAX_NODES", 2)
    fs = devices.FsDevice()
    file = fs.tree.create(abi.ROOT, b"file", 0o100644, b"x")

    async def work(bus):
        driver = await drivers.FsDriver.probe(bus.devices[0])
        first = await driver._open(Op.OPEN, file.id, "file")
        await driver._open(Op.OPEN, file.id, "file")
        with pytest.raises(OSError, match="Too many open files"):
            await driver._open(Op.OPEN, file.id, "file")
        await driver._release(Op.RELEASE, file.id, first)
        await driver._release(Op.RELEASE, file.id, first)  # there is none any more
        await driver._open(Op.OPEN, file.id, "file")
        await driver.remove_file("file")
        await driver.remove()  # with two open

    run(ffabric, [fs], work)
    assert list(fs.tree.nodes) == [abi.ROOT], "who is gone has nothing open"
