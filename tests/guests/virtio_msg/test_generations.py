"""Every generation of driver side against every generation of device side."""

import itertools
import struct
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.notifications import GET_FROM_HYPERVISOR, GET_FROM_SPM
from ffabric.abi.ffa.uuids import to_pair
from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import early
from ffabric.abi.virtio_msg import transport as t
from ffabric.abi.virtio_msg.ffa import DEVICE_UUID, DRIVER_UUID, from_registers, to_registers
from ffabric.abi.virtio_msg.generations import EARLY, NAMED
from ffabric.abi.virtio_msg.narrow import is_narrow, is_wide, narrow, widen
from ffabric.guests.partition import Partition
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.devices.console import ConsoleDevice
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio.drivers.console import ConsoleDriver
from ffabric.guests.virtio_msg.device.delivery import SENDS
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.driver.ffa_bus import find_device_sides
from ffabric.guests.virtio_msg.driver.partition import DriverSide

NAMES = ["pr28", "v2", "rfc2", "alpha", "rfc1"]
PAIRS = list(itertools.product(NAMES, NAMES))


class Client(DriverSide):
    def __init__(self, **how):
        super().__init__("client", **how)
        self.problem = ""
        self.finished = False

    async def main(self, ffa):
        try:
            (bus,) = await self.open_buses(ffa)
        except BusError as error:
            self.problem = str(error)
        else:
            await self.work(bus)
        while True:
            await ffa.idle()

    async def work(self, bus):
        disk = await BlockDriver.probe(bus.devices[0])
        assert disk.capacity == 64
        await disk.write(3, b"sector".ljust(512, b"."))
        assert await disk.read(3) == b"sector".ljust(512, b".")
        assert len(await disk.device.read_config(0, 60)) == 60
        await disk.restart_queue(0)
        assert await disk.read(3) == b"sector".ljust(512, b".")
        console = await ConsoleDriver.probe(bus.devices[1])
        await console.write(b"hello")
        await console.emergency_write(b"!")
        await console.remove()
        await disk.remove()
        assert await bus.close()
        self.finished = True


def run(ffabric, driver, device, *, secure=True, **how):
    console = ConsoleDevice()
    side = DeviceSide(
        [BlockDevice(bytearray(64 * 512)), console], generation=device, name="backend"
    )
    client = Client(generation=driver, **how)
    if secure:
        system = ffabric.boot(sps=[side], vms=[client], start=False)
    else:
        system = ffabric.boot(sps=["unconcerned"], vms=[side, client], start=False)
    said: list[str] = []
    system.system.listeners.append(lambda _, line: said.append(line))
    system.run()
    return client, console, said


@pytest.mark.parametrize(("driver", "device"), PAIRS)
@pytest.mark.parametrize("static", [0, 64], ids=["dynamic", "static"])
def test_it_works_or_both_say_at_once_why_not(ffabric, driver, device, static):
    client, console, said = run(ffabric, driver, device, static=static)
    if driver == device:
        assert client.finished, client.problem
        assert console.output == b"hello!"
        return
    assert not client.finished
    early, other = driver in EARLY, device in EARLY
    if early and other:
        assert client.problem
    elif other:
        assert "speaks alpha or rfc1" in client.problem
    elif early:
        assert f"does not speak {driver}" in client.problem
        assert any("speaks alpha or rfc1, whose headers have 4 bytes" in line for line in said)
    elif device == "rfc2":
        assert "speaks rfc2, whose headers have 6 bytes" in client.problem
        assert any("speaks with headers of 8 bytes, not rfc2" in line for line in said)
    elif driver == "rfc2":
        assert client.problem == "the device side speaks with headers of 8 bytes, and not rfc2"
        assert any("speaks rfc2, whose headers have 6 bytes" in line for line in said)
    else:
        assert f"speaks {device}" in client.problem


WAYS = [
    pytest.param({"secure": True}, id="sp"),
    pytest.param({"secure": True, "notifications": True}, id="notified"),
    pytest.param({"secure": False}, id="vm-to-vm"),
    pytest.param({"secure": False, "notifications": True, "static": 64}, id="vm-to-vm-static"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("driver", "device"), PAIRS)
def test_by_indirect_messages_likewise(ffabric, driver, device, way):
    client, console, said = run(ffabric, driver, device, indirect=True, **way)
    if driver == device:
        assert client.finished, client.problem
        assert console.output == b"hello!"
        return
    assert not client.finished
    early, other = driver in EARLY, device in EARLY
    if early and other:
        assert f"does not speak {driver}" in client.problem
    elif other:
        assert "speaks alpha or rfc1" in client.problem
    elif early:
        assert (
            client.problem == f"the device side does not speak {driver}: its headers have 8 bytes"
        )
        assert any("speaks alpha or rfc1, whose headers have 4 bytes" in line for line in said)
    elif "rfc2" in (driver, device):
        assert "bytes" in client.problem
        assert any(f"bytes, not {device}" in line for line in said)
    else:
        assert f"speaks {device}" in client.problem


def test_names_of_generations():
    assert set(NAMES) | {"v1"} == NAMED.keys()
    with pytest.raises(ValueError, match="'beta' is not a generation: they are pr28, v2, v1, rfc2"):
        DeviceSide(generation="beta")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["alpha", "rfc1", "rfc2"])
def test_older_generations_have_no_fifo(ffabric, name):
    client, _, _ = run(ffabric, name, name, fifo=True)
    assert client.problem == f"{name} has no FIFO"


class Raw(DriverSide):
    """Makes direct requests of 40 bytes, as Linux and Trusty made them in 2024."""

    def __init__(self, messages):
        super().__init__("client")
        self._messages = messages
        self.answers: list[bytes] = []

    async def main(self, ffa):
        await self.say(ffa, *self._messages)
        while True:
            await ffa.idle()

    async def say(self, ffa, *messages):
        for message in messages:
            whole = message.ljust(40, b"\0")
            words = [int.from_bytes(whole[at : at + 8], "little") for at in range(0, 40, 8)]
            head = (fid.FFA_MSG_SEND_DIRECT_REQ_64, ffa.endpoint << 16 | 0x8001, 0)
            x = await ffa.call(*head, *words)
            assert x[0] & 0xFFFF_FFFF == fid.FFA_MSG_SEND_DIRECT_RESP_64
            self.answers.append(b"".join(word.to_bytes(8, "little") for word in x[3:8]))


def talk(ffabric, generation, *messages):
    console = ConsoleDevice()
    side = DeviceSide([BlockDevice(bytearray(64 * 512)), console], generation=generation)
    raw = Raw(messages)
    ffabric.boot(sps=[side], vms=[raw]).run()
    return raw.answers


def test_messages_of_2024_byte_by_byte(ffabric):
    activate = bytes((2, 1, 0, 0)) + (1).to_bytes(4, "little")
    info = bytes((0, 3, 0, 0))
    features = bytes((0, 4, 0, 0))
    config = bytes((0, 6, 0, 0)) + bytes((0, 0, 0, 8))
    status = bytes((0, 10, 0, 0)) + b"\1"
    vqueue = bytes((0, 11, 0, 0))
    answers = talk(ffabric, "alpha", activate, info, features, config, status, vqueue)
    assert answers[0][:8] == bytes((3, 1, 0, 0)) + (1).to_bytes(4, "little")
    assert int.from_bytes(answers[0][8:16], "little") == 3 | 255 << 8
    assert int.from_bytes(answers[0][16:24], "little") == 2, "devices"
    assert answers[1][:12] == bytes((1, 3, 0, 0)) + bytes((1, 0, 0, 0)) + bytes((2, 0, 0, 0))
    assert int.from_bytes(answers[2][8:40], "little") >> 32 & 3 == 3, "VERSION_1, ACCESS_PLATFORM"
    assert answers[3][4:16] == bytes((0, 0, 0, 8)) + (64).to_bytes(8, "little")
    assert answers[4] == bytes((1, 10, 0, 0)).ljust(40, b"\0")
    assert int.from_bytes(answers[5][8:12], "little") == 64, "largest size"


@pytest.mark.parametrize(
    ("generation", "message", "answer"),
    [
        ("alpha", bytes((2, 9)), bytes((3, 0))),
        ("alpha", bytes((0, 99)), bytes((1, 0))),
        ("alpha", bytes((0, 3, 7, 0)), bytes((1, 0, 7, 0)) + bytes((1, 0, 0, 0))),
        ("rfc1", bytes((0, 2, 7, 0)), bytes((1, 1, 7, 0)) + bytes((1, 0, 0, 0, 2))),
        ("rfc1", bytes((0, 3, 0, 0, 1)), bytes((1, 1, 0, 0)) + bytes((1, 0, 0, 0, 3))),
        ("alpha", bytes((0, 0x11, 0, 0)), bytes(40)),
        ("alpha", bytes((1, 3)), bytes(40)),
    ],
)
def test_what_cannot_be_done_is_an_error_of_that_generation(ffabric, generation, message, answer):
    activate = bytes((2, 1, 0, 0)) + (1).to_bytes(4, "little")
    assert talk(ffabric, generation, activate, message)[1].startswith(answer)


@pytest.mark.parametrize("generation", ["alpha", "rfc1"])
def test_no_message_of_40_bytes_is_too_much(ffabric, generation):
    activate = bytes((2, 1, 0, 0)) + (1).to_bytes(4, "little")
    random = Random(generation)
    messages = [
        bytes((random.choice((0, 2)), random.randrange(0x24), random.randrange(3), 0))
        + random.randbytes(36)
        for _ in range(400)
    ]
    answers = talk(ffabric, generation, activate, *messages)
    assert len(answers) == 401


class Narrow(DriverSide):
    """Makes direct requests to the service, as Linux's patches of July 2025 do."""

    def __init__(self, messages):
        super().__init__("client")
        self._messages = messages
        self.answers: list[bytes] = []

    async def main(self, ffa):
        for message in self._messages:
            head = (fid.FFA_MSG_SEND_DIRECT_REQ2, ffa.endpoint << 16 | 0x8001)
            x = await ffa.call(*head, *to_pair(DEVICE_UUID), *to_registers(message))
            assert x[0] & 0xFFFF_FFFF == fid.FFA_MSG_SEND_DIRECT_RESP2
            self.answers.append(from_registers(x[4:18]))
        while True:
            await ffa.idle()


def narrow_talk(ffabric, *messages):
    side = DeviceSide([BlockDevice(bytearray(64 * 512)), ConsoleDevice()], generation="rfc2")
    driver = Narrow(messages)
    ffabric.boot(sps=[side], vms=[driver]).run()
    return driver.answers


def words(*values, size=4):
    return b"".join(value.to_bytes(size, "little") for value in values)


def narrow_message(type_, number, device=0, payload=b""):
    head = bytes((type_, number)) + device.to_bytes(2, "little")
    return head + (6 + len(payload)).to_bytes(2, "little") + payload


VERSION = narrow_message(2, 0x80, payload=words(1, 1, 0, 0xF) + words(0xFF, size=2))


def test_messages_of_july_2025_byte_by_byte(ffabric):
    """In Linux's order: no RESET before VERSION, 255 devices at once, no reserved word."""
    version, devices, info, features, vqueue, poll = narrow_talk(
        ffabric,
        VERSION,
        narrow_message(2, 0x02, payload=words(0, 0xFF, size=2)),
        narrow_message(0, 0x02, 1),
        narrow_message(0, 0x03, 0, words(0, 2)),
        narrow_message(0, 0x09, 0, words(0)),
        narrow_message(2, 0x84),
    )
    assert version[:24] == narrow_message(3, 0x80, payload=version[6:24])
    assert version[6:18] == words(1, 1, 0)
    assert int.from_bytes(version[18:22], "little") & 0xF == 0xF
    assert devices[:6] == bytes((3, 2, 0, 0)) + words(6 + 6 + 31, size=2)
    assert devices[6:12] == words(0, 248, 0, size=2)
    assert devices[12:43] == bytes((3,)).ljust(31, b"\0")
    assert info[:30] == narrow_message(1, 0x02, 1, info[6:30])
    assert int.from_bytes(info[6:10], "little") == 3, "a console"
    assert features[:22] == narrow_message(1, 0x03, 0, features[6:22])
    assert vqueue[:42] == narrow_message(1, 0x09, 0, words(0, 64, 0) + bytes(24))
    assert poll == narrow_message(3, 0x84).ljust(112, b"\0")
    for answer in (version, info, features, vqueue):
        assert not any(answer[int.from_bytes(answer[4:6], "little") :])


def test_what_july_2025_has_not_got_is_refused(ffabric):
    """EVENT_CONFIGURE and FIFO_CONFIGURE came later."""
    _, *answers = narrow_talk(
        ffabric,
        VERSION,
        narrow_message(2, 0x85, payload=words(0)),
        narrow_message(2, 0x86, payload=bytes(12)),
        narrow_message(0, 0x3F, 1),
    )
    assert [answer[1] for answer in answers] == [0x87] * 3


class Listening(DriverSide):
    """Sends messages, direct or indirect ones, and reads what comes to RX after each of them."""

    def __init__(self, side, messages, *, direct):
        super().__init__("client")
        self._side, self._messages, self._direct = side, messages, direct
        self.answers: list[bytes] = []
        self.heard: list[list[bytes]] = []

    async def main(self, ffa):
        await ffa.map_buffers()
        (peer,) = await find_device_sides(ffa)
        for message in self._messages:
            if message is None:
                self._side.add(ConsoleDevice())
            elif self._direct:
                head = (fid.FFA_MSG_SEND_DIRECT_REQ2, ffa.endpoint << 16 | peer.id)
                x = await ffa.call(*head, *to_pair(DEVICE_UUID), *to_registers(message))
                self.answers.append(from_registers(x[4:18]))
            else:
                await ffa.send2(peer.id, message, uuid=DEVICE_UUID)
            self.heard.append(await self._listen(ffa))
        while True:
            await ffa.idle()

    async def _listen(self, ffa):
        heard = []
        for _ in range(8):
            await ffa.yield_()
            _, _, framework = await ffa.notification_get(GET_FROM_SPM | GET_FROM_HYPERVISOR)
            if framework:
                message = await ffa.receive()
                assert message.uuid == DRIVER_UUID
                heard.append(message.payload)
        return heard


def listen(ffabric, generation, *messages, direct, secure=True):
    side = DeviceSide(
        [BlockDevice(bytearray(64 * 512)), ConsoleDevice()], generation=generation, name="backend"
    )
    driver = Listening(side, messages, direct=direct)
    if secure:
        ffabric.boot(sps=[side], vms=[driver]).run()
    else:
        ffabric.boot(sps=["unconcerned"], vms=[side, driver]).run()
    return driver


READY = narrow_message(2, 0x40, payload=words(2, 1, size=2))
DEVICES = narrow_message(2, 0x02, payload=words(0, 0xFF, size=2))
PING = narrow_message(2, 0x03, payload=words(7))
POLL = narrow_message(2, 0x84)


def test_whoever_takes_indirect_messages_gets_events_by_them_in_july_2025(ffabric):
    """As Linux has it: requests are direct messages, and events come to RX."""
    driver = listen(ffabric, "rfc2", VERSION, DEVICES, None, PING, direct=True)
    assert driver.heard == [[], [], [], [READY]]


class Late(Listening):
    """Has a message in RX when the next event is to come, and reads it as soon as it can.

    `reads` says whether it does.
    """

    reads = True
    yields = 0

    async def main(self, ffa):
        await ffa.map_buffers()
        (peer,) = await find_device_sides(ffa)
        for message in (VERSION, DEVICES, None, PING, None, PING):
            if message is None:
                self._side.add(ConsoleDevice())
                continue
            head = (fid.FFA_MSG_SEND_DIRECT_REQ2, ffa.endpoint << 16 | peer.id)
            x = await ffa.call(*head, *to_pair(DEVICE_UUID), *to_registers(message))
            while (function := x[0] & 0xFFFF_FFFF) in (fid.FFA_YIELD, fid.FFA_INTERRUPT):
                if function == fid.FFA_YIELD:
                    self.yields += 1
                    if self.reads:
                        self.heard += [await self._listen(ffa)]
                x = await ffa.call(fid.FFA_RUN, x[1])
            self.answers.append(from_registers(x[4:18]))
        self.heard += [await self._listen(ffa)]
        while True:
            await ffa.idle()


@pytest.mark.parametrize("reads", [True, False])
def test_an_event_waits_for_rx_while_a_direct_request_does(ffabric, reads):
    """Linux reads RX by a worker, while another thread of it makes the next request."""
    side = DeviceSide([ConsoleDevice()], generation="rfc2")
    driver = Late(side, (), direct=True)
    driver.reads = reads
    ffabric.boot(sps=[side], vms=[driver]).run()
    ready = [narrow_message(2, 0x40, payload=words(each, 1, size=2)) for each in (1, 2)]
    assert [answer[:10] for answer in driver.answers[2:]] == [narrow_message(3, 3, 0, words(7))] * 2
    if reads:
        assert driver.heard == [[ready[0]], [ready[1]]]
        assert driver.yields == 1
    else:
        assert driver.heard == [[ready[0]]]
        assert driver.yields == SENDS - 1, "and not for ever"


def test_whoever_takes_direct_messages_alone_asks_for_events_in_july_2025(ffabric):
    version = narrow_message(2, 0x80, payload=words(1, 1, 0, 0x3) + words(0xFF, size=2))
    driver = listen(ffabric, "rfc2", version, DEVICES, None, PING, POLL, direct=True)
    assert driver.heard == [[], [], [], [], []]
    assert driver.answers[-1] == READY.ljust(112, b"\0")


@pytest.mark.parametrize("secure", [True, False], ids=["sp", "vm"])
def test_all_that_is_indirect_is_answered_in_july_2025(ffabric, secure):
    """Linux waits for an answer whatever it sends, so an event has one, too."""
    avail = narrow_message(0, 0x41, 1, words(0, 0))
    response = narrow_message(1, 0x02, 1)
    messages = (VERSION, DEVICES, avail, response, None, PING, POLL)
    driver = listen(ffabric, "rfc2", *messages, direct=False, secure=secure)
    version, devices, taken, nothing, _, ping, _ = driver.heard
    assert version[0][:4] == bytes((3, 0x80, 0, 0))
    assert devices[0][:4] == bytes((3, 0x02, 0, 0))
    assert taken == [narrow_message(1, 0x41, 1)]
    assert nothing == []
    assert ping[0] == narrow_message(3, 0x03, payload=words(7))
    assert READY in [each for heard in driver.heard for each in heard]


ACTIVATE = (bytes((2, 1, 0, 0)) + words(1)).ljust(40, b"\0")
CONFIGURE = (bytes((2, 3, 0, 0)) + words(3)).ljust(40, b"\0")
STATUS = bytes((0, 9, 1, 0)).ljust(40, b"\0")


@pytest.mark.parametrize("secure", [True, False], ids=["sp", "vm"])
def test_all_that_is_indirect_is_answered_in_2024(ffabric, secure):
    avail = bytes((0, 0x11, 1, 0)).ljust(40, b"\0")
    response = bytes((1, 9, 1, 0)).ljust(40, b"\0")
    messages = (ACTIVATE, CONFIGURE, STATUS, avail, response)
    driver = listen(ffabric, "alpha", *messages, direct=False, secure=secure)
    activated, configured, status, taken, nothing = driver.heard
    assert activated[0][:8] == bytes((3, 1, 0, 0)) + words(1)
    assert configured == [(bytes((3, 3, 0, 0)) + words(3)).ljust(40, b"\0")]
    assert status == [bytes((1, 9, 1, 0)).ljust(40, b"\0")]
    assert taken == [bytes((1, 0x11, 1, 0)).ljust(40, b"\0")]
    assert nothing == []


@given(st.lists(st.binary(min_size=1, max_size=112), max_size=6), st.sampled_from(NAMES))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_indirect_bytes_harm_nobody(ffabric, messages, name):
    driver = listen(ffabric, name, *messages, direct=False)
    assert len(driver.heard) == len(messages)


@pytest.mark.parametrize("size", [0, 3, 5, 7, 113, 0xFFFE, 0xFFFF])
def test_sizes_that_cannot_be_harm_nobody(ffabric, size):
    wrong = bytes((2, 3, 0, 0)) + words(size, size=2)
    answers = narrow_talk(ffabric, VERSION, wrong, narrow_message(2, 0x03, payload=words(7)))
    assert answers[1][1] != 0x03
    assert answers[2][:10] == narrow_message(3, 0x03, payload=words(7))


@given(st.lists(st.binary(min_size=1, max_size=112), max_size=8))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_harm_nobody_in_july_2025(ffabric, messages):
    answers = narrow_talk(ffabric, *messages, narrow_message(2, 0x80, payload=words(2, 2)))
    assert len(answers) == len(messages) + 1


@given(st.binary(min_size=8, max_size=112), st.integers(0, 0xFFFF))
def test_widening_and_narrowing_are_each_others_inverse(data, token):
    assert narrow(widen(data, token)) == data


def test_a_message_is_known_by_its_header():
    assert is_narrow(VERSION)
    assert not is_wide(VERSION)
    assert is_wide(widen(VERSION, 7))
    assert not is_narrow(widen(VERSION, 7))
    assert is_narrow(VERSION + b"\1"), "the first one may have anything behind it"
    assert is_narrow(PING)
    assert not is_narrow(PING + b"\1")


# A device side of 2024 that answers what it likes.


class Alpha(Partition):
    """Answers each direct message of 40 bytes with what ``answers`` have for its type and id.

    Without one it answers as a device side without devices.
    """

    uuid = DEVICE_UUID

    def __init__(self, answers):
        super().__init__("alpha")
        self._answers = {
            (2, 1): (3, 1, early.ACTIVATED.pack(1, 3 | 255 << 8, 0)),
            (2, 2): (3, 2, b""),
            (2, 3): (3, 3, words(3)),
        } | answers

    async def on_direct_request(self, request, ffa):
        first = request.payload[0].to_bytes(8, "little")
        type_, number, payload = self._answers[first[0] & 3, first[1]]
        message = early.build(type_, number, int.from_bytes(first[2:4], "little"), payload)
        return request.respond(*struct.unpack("<5Q", message))


class Asking(DriverSide):
    """Opens a bus of alpha, and asks its devices what ``work`` asks."""

    def __init__(self, work=None):
        super().__init__("client", generation="alpha")
        self._work = work
        self.problem = ""
        self.finished = False

    async def main(self, ffa):
        try:
            (bus,) = await self.open_buses(ffa)
            if self._work is not None:
                await self._work(bus)
            self.finished = True
        except BusError as error:
            self.problem = str(error)
        while True:
            await ffa.idle()


def ask_alpha(ffabric, answers, work=None):
    client = Asking(work)
    ffabric.boot(sps=[Alpha(answers)], vms=[client]).run()
    return client


def activated(version=1, features=3 | 255 << 8, devices=0):
    return {(2, 1): (3, 1, early.ACTIVATED.pack(version, features, devices))}


INFO_OF_ONE = {(0, 3): (1, 3, early.INFO.pack(1, 2, 0))}


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ({}, ""),
        (activated(devices=1) | INFO_OF_ONE, ""),
        (activated(devices=256) | INFO_OF_ONE, ""),
        (activated(devices=257), "257 devices, whose numbers have 16 bits"),
        (activated(devices=(1 << 64) - 1), "18446744073709551615 devices"),
        (activated(version=2), "version 2 of the bus"),
        (activated(features=1 | 255 << 8), "version 1 of the bus, features 0xff01"),
        ({(2, 1): (3, 0, b"")}, "message 0x1 was refused"),
        ({(2, 1): (2, 1, b"")}, "the device side does not speak alpha"),
        ({(2, 1): (1, 1, b"")}, "the device side does not speak alpha"),
        ({(2, 1): (3, 9, b"")}, "the device side does not speak alpha"),
        (
            activated(devices=1) | {(0, 3): (1, 3, early.INFO.pack(7, 2, 0))},
            "does not speak alpha: device 0 has version 7",
        ),
        (activated(devices=1) | {(0, 3): (1, 0, b"")}, "message 0x3 was refused"),
    ],
)
def test_a_device_side_of_2024_that_says_what_cannot_be(ffabric, monkeypatch, answers, problem):
    monkeypatch.setattr(bus_abi, "MAX_DEVICES", 256)
    client = ask_alpha(ffabric, answers)
    assert problem in client.problem
    assert client.finished is (not problem)


def test_a_device_side_of_2024_that_is_busy_for_ever_costs_the_patience(ffabric):
    client = Asking()
    client.patience = 1_000_000
    side = Alpha({(2, 1): (0, 0, b"")})
    ffabric.boot(sps=[side], vms=[client]).run()
    assert client.problem.startswith("the device side is busy")


def test_what_2024_has_not_got_is_said_by_name(ffabric):
    async def ping(bus):
        await bus.request(bus_abi.PING, data=1)

    assert ask_alpha(ffabric, {}, ping).problem == "PING is not in alpha"


def test_a_configuration_is_written_by_32_bytes_at_most_in_2024(ffabric):
    sizes = []

    async def write(bus):
        for size in (32, 33):
            how = {"generation": 0, "offset": 0, "data": bytes(size)}
            sizes.append((await bus.request(t.SET_CONFIG, 0, **how))["length"])

    config = {(0, 7): (1, 7, words(0)), (0, 8): (1, 8, words(5))}
    client = ask_alpha(ffabric, activated(devices=1) | INFO_OF_ONE | config, write)
    assert sizes == [32]
    assert client.problem == "33 bytes of configuration in a message of alpha"


def test_a_configuration_that_is_not_taken_in_2024_has_not_changed(ffabric):
    async def write(bus):
        how = {"generation": 4, "offset": 0, "data": b"abcd"}
        answer = await bus.request(t.SET_CONFIG, 0, **how)
        assert (answer["length"], answer["generation"]) == (0, 4)

    config = {(0, 7): (1, 7, words(0) + b"else"), (0, 8): (1, 8, words(5))}
    assert ask_alpha(ffabric, activated(devices=1) | INFO_OF_ONE | config, write).finished


# A driver side of 2024 that says what cannot be.


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        (bytes((2, 1, 0, 0)) + words(2), (3, 0)),
        (bytes((0, 6, 0, 0)) + words(1 << 24 | 60), (1, 0)),
        (bytes((0, 6, 0, 0)) + words(8 << 24 | 0xFF_FFF0), (1, 0)),
        (bytes((0, 6, 0, 0)) + words(0), (1, 0)),
        (bytes((0, 6, 0, 0)) + words(33 << 24), (1, 0)),
        (bytes((0, 4, 0, 0)) + words(1 << 31), (1, 0)),
        (bytes((2, 4, 0, 0)) + words(1) + bytes(8), (3, 0)),
        (bytes((2, 5, 0, 0)) + words(1) + bytes(8), (3, 0)),
        (bytes((2, 7, 0, 0)), (3, 0)),
    ],
    ids=[
        "another version", "behind the configuration", "far behind", "nothing", "too much",
        "features that no number has", "an area of nobody", "no area", "no message",
    ],
)  # fmt: skip
def test_what_a_driver_side_of_2024_asks_in_vain(ffabric, message, refused):
    answers = talk(ffabric, "alpha", ACTIVATE, message, bytes((0, 3, 0, 0)))
    assert tuple(answers[1][:2]) == refused
    assert answers[2][:2] == bytes((1, 3)), "and it goes on"


def test_a_virtqueue_of_no_size_is_taken_away_in_2024(ffabric):
    taken = early.QUEUE.pack(0, 0, 0, 0, 0, 0)
    assert talk(ffabric, "alpha", ACTIVATE, bytes((0, 12, 0, 0)) + taken)[1][:2] == bytes((1, 0))


class Loud(BlockDevice):
    """Is reset when it wants to be."""

    loud = True

    @property
    def quiet(self):
        return not self.loud


def test_a_bus_of_2024_that_is_activated_anew_is_busy_until_its_devices_are_quiet(ffabric):
    disk = Loud(bytearray(512))
    status = bytes((0, 10, 0, 0)) + b"\1"

    class Quieter(Raw):
        async def main(self, ffa):
            await self.say(ffa, ACTIVATE, status, ACTIVATE, ACTIVATE)
            disk.loud = False
            await self.say(ffa, ACTIVATE, bytes((0, 3, 0, 0)))
            while True:
                await ffa.idle()

    raw = Quieter(())
    ffabric.boot(sps=[DeviceSide([disk], generation="alpha")], vms=[raw]).run()
    _, _, *busy, active, info = raw.answers
    assert busy == [bytes(40)] * 2
    assert active[:2] == bytes((3, 1))
    assert info[:2] == bytes((1, 3))
