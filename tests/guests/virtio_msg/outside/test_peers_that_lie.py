"""A device side in another process that answers what it likes: its driver hears of it, no more."""

import threading
from contextlib import suppress

import pytest
from socket_peers import HELLO, PATIENT, Client, Thread, listen

from ffabric.abi.virtio_msg import bus as bus_abi
from ffabric.abi.virtio_msg import ffa, transport
from ffabric.abi.virtio_msg import socket as abi
from ffabric.abi.virtio_msg.generations import PR28
from ffabric.abi.virtio_msg.message import build
from ffabric.abi.virtio_msg.socket import Access
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.driver import DeviceLost
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.driver.bus import BusError
from ffabric.guests.virtio_msg.outside import devices as outside_devices
from ffabric.guests.virtio_msg.outside.devices import SocketDevices
from processes_at_hand import SOON

INFO = {"device_id": 2, "num_features": 64, "config_size": 8, "max_virtqueues": 1}


def run(ffabric, path, act, work, *, answers=None, version=1, **how):
    """Run a client of a disk of ours (number 0) and of what a peer does: what the SP has said."""
    side = SocketDevices(
        path, [BlockDevice(bytearray(512))], generation="pr28", wait=SOON, patience=SOON, **how
    )
    client = Client(work)
    system = ffabric.boot(sps=[side], vms=[client], start=False)
    said = listen(system, "devices")
    peer = Thread(path, lambda raw: act(raw, {} if answers is None else answers, version))
    system.run()
    side.door.close()
    peer.done()
    assert client.finished
    return said


def device(raw, answers, version=1):
    """A device with the number 0 there; `answers` say otherwise what a kind is answered with.

    An answer is fields, or bytes as they are; None: there is none.
    """
    answers = {
        abi.RESET: lambda _: {"result": 0},
        bus_abi.GET_DEVICES: lambda _: {"offset": 0, "count": 8, "bitmap": b"\1"},
        transport.GET_DEVICE_INFO: lambda _: INFO,
        transport.SET_DEVICE_STATUS: lambda asked: {"status": asked["status"]},
    } | answers
    raw.hello(version=version)
    while (message := raw.recv()) is not None:
        answer = answers.get(message.kind)
        if answer is None or message.response:
            continue
        fields = answer(message)
        if isinstance(fields, bytes):
            raw.socket.sendall(fields)
        elif fields is not None:
            how = {"device": message.device, "token": message.token, "response": True}
            raw.send(message.kind, **how, **fields)


async def ours_goes_on(bus):
    disk = await BlockDriver.probe(bus.devices[0])
    assert await disk.read(0) == bytes(512)


# What a peer answers its driver.


def other(kind, **changed):
    """An answer of another kind, to another device, or without its end."""

    def to(message):
        head = {"device": message.device, "token": message.token, "response": True} | changed
        fields = {"index": 0, "status": 0, "msg_id": message.kind.id} | INFO
        names = {field.name for field in kind.response.record(1).fields}
        return build(kind, PR28, **head, **{n: v for n, v in fields.items() if n in names})

    return to


@pytest.mark.parametrize(
    "answer",
    [
        other(transport.RESET_VQUEUE),
        other(transport.GET_DEVICE_STATUS),
        other(transport.SET_DEVICE_STATUS),
        other(ffa.ERROR),
        other(transport.GET_DEVICE_INFO, device=5),
        lambda message: build(bus_abi.PING, PR28, token=message.token, response=True, data=1),
        lambda message: (
            other(transport.GET_DEVICE_INFO)(message)[:6] + (300).to_bytes(2, "little") + bytes(292)
        ),
    ],
    ids=["reset", "status", "set status", "error", "another device", "bus", "too long"],
)
def test_what_answers_something_else_is_refused_and_the_device_goes_on(ffabric, path, answer):
    wrong = [answer]
    answers = {
        transport.GET_DEVICE_INFO: lambda message: wrong.pop()(message) if wrong else INFO,
    }

    async def work(bus):
        with pytest.raises(BusError, match="GET_DEVICE_INFO was refused"):
            await bus.devices[1].identify()
        assert await bus.devices[1].identify() == 2
        await ours_goes_on(bus)

    run(ffabric, path, device, work, answers=answers)


def test_who_answers_late_has_its_oldest_requests_forgotten(ffabric, path):
    """What is asked again after that is asked anew, and nobody takes its first answer for that."""
    asked = []

    def late(message):
        """Answer all that was asked before."""
        answers = [
            build(
                each.kind, PR28, token=each.token, response=True, offset=each["offset"], data=b"!"
            )
            for each in asked
        ]
        own = build(message.kind, PR28, token=message.token, response=True, status=7)
        return b"".join([*answers, own])

    async def work(bus):
        end = bus.devices[1]
        bus.attention.patience = 1_000_000
        for offset in range(20):
            with pytest.raises(BusError, match="busy"):
                await end.request(transport.GET_CONFIG, offset=offset, length=1)
        bus.attention.patience = PATIENT
        assert (await end.request(transport.GET_DEVICE_STATUS))["status"] == 7
        await ours_goes_on(bus)

    answers = {transport.GET_CONFIG: asked.append, transport.GET_DEVICE_STATUS: late}
    run(ffabric, path, device, work, answers=answers)
    assert [each["offset"] for each in asked] == list(range(20))


def test_nothing_is_asked_of_a_peer_that_has_hung_up(ffabric, path):
    gone = threading.Event()

    def act(raw, answers, version):
        def leave(_):
            raw.socket.shutdown(2)
            gone.set()

        device(raw, answers | {transport.GET_DEVICE_INFO: leave}, version)

    async def work(bus):
        end = bus.devices[1]
        bus.attention.patience = 1_000_000
        with pytest.raises((BusError, DeviceLost)):
            await end.identify()
        assert gone.wait(SOON)
        bus.attention.patience = PATIENT
        with pytest.raises((BusError, DeviceLost)):
            await end.identify()
        await bus.wait(lambda: 1 not in bus.devices)
        await ours_goes_on(bus)

    run(ffabric, path, act, work)


# What a peer says of its devices.


def listing(**fields):
    return {bus_abi.GET_DEVICES: lambda _: {"offset": 0, "count": 8, "bitmap": b"\1"} | fields}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"offset": 8}, "GET_DEVICES from 0 on is answered with"),
        ({"next_offset": 7}, "GET_DEVICES from 0 on is answered with"),
        ({"count": 0, "bitmap": b"", "next_offset": 0}, ""),
    ],
    ids=["another offset", "backwards", "none"],
)
def test_a_list_that_contradicts_itself_is_refused(ffabric, path, fields, reason):
    async def work(bus):
        assert sorted(bus.devices) == [0]
        await ours_goes_on(bus)

    said = run(ffabric, path, device, work, answers=listing(**fields))
    assert any(reason in line for line in said) if reason else said == []


def test_a_list_that_is_none_is_refused(ffabric, path):
    def garbage(message):
        how = {"token": message.token, "response": True}
        return build(bus_abi.GET_DEVICES, PR28, **how, offset=0, count=8, bitmap=b"\1")[:-1]

    def cut(message):
        whole = garbage(message)
        return whole[:6] + len(whole).to_bytes(2, "little") + whole[8:]

    async def work(bus):
        assert sorted(bus.devices) == [0]
        await ours_goes_on(bus)

    said = run(ffabric, path, device, work, answers={bus_abi.GET_DEVICES: cut})
    assert any("GET_DEVICES is not answered as it must be" in line for line in said)


@pytest.mark.parametrize("count", [8, 16], ids=["the last", "more than there are"])
def test_numbers_of_devices_have_16_bits(ffabric, path, count):
    last = 0xFFF8

    def listed(message):
        if not message["offset"]:
            return {"offset": 0, "count": 8, "bitmap": b"\0", "next_offset": last}
        return {"offset": last, "count": count, "bitmap": b"\x80".rjust(count // 8, b"\0")}

    async def work(bus):
        if count == 8:
            assert await bus.devices[1].identify() == 2
        else:
            assert sorted(bus.devices) == [0]
        await ours_goes_on(bus)

    said = run(ffabric, path, device, work, answers={bus_abi.GET_DEVICES: listed})
    assert (said == []) is (count == 8)


@pytest.mark.parametrize("many", [7, 8], ids=["as many", "one more"])
def test_who_has_too_many_devices_is_lost(ffabric, path, monkeypatch, many):
    monkeypatch.setattr(outside_devices, "DEVICES", 7)
    bitmap = ((1 << many) - 1).to_bytes(1, "little")

    async def work(bus):
        assert len(bus.devices) == (8 if many == 7 else 1)
        await ours_goes_on(bus)

    said = run(ffabric, path, device, work, answers=listing(bitmap=bitmap))
    assert any("it tells of more than 7 devices" in line for line in said) is (many == 8)


def test_a_device_that_goes_and_comes_at_once_is_another(ffabric, path):
    def act(raw, answers, version):
        def again(message):
            changes = ((0, 2), (0, 1), (4, 2), (0, 0x8000), (6, 1), (6, 2))
            events = [
                build(bus_abi.EVENT_DEVICE, PR28, number=number, state=state)
                for number, state in changes
            ]
            raw.socket.sendall(b"".join(events))
            return {"status": 0}

        device(raw, answers | {transport.GET_DEVICE_STATUS: again}, version)

    async def work(bus):
        first = bus.devices[1]
        with suppress(BusError, DeviceLost):
            await first.request(transport.GET_DEVICE_STATUS)
        await bus.wait(lambda: bool(bus.devices.keys() - {0, 1}))
        (number,) = bus.devices.keys() - {0}
        assert await bus.devices[number].identify() == 2
        await ours_goes_on(bus)

    run(ffabric, path, act, work)


def test_nobody_is_told_by_a_device_that_is_not_there(ffabric, path):
    def act(raw, answers, version):
        def tell(message):
            raw.send(transport.EVENT_USED, device=3, index=0)
            raw.send(transport.EVENT_USED, device=0, index=0)  # nobody has set its status
            raw.send(ffa.EVENT_AREA_RELEASE, area=1)
            return INFO

        device(raw, answers | {transport.GET_DEVICE_INFO: tell}, version)

    async def work(bus):
        heard = []
        bus.on_event = heard.append
        assert await bus.devices[1].identify() == 2
        while await bus.poll():
            pass
        assert heard == []

    run(ffabric, path, act, work)


@pytest.mark.parametrize("length", [4, 240], ids=["short", "too long for the bus"])
def test_a_configuration_that_has_changed_is_told_as_far_as_it_fits(ffabric, path, length):
    data = bytes(range(length))

    def act(raw, answers, version):
        def tell(message):
            raw.send(transport.EVENT_CONFIG, device=0, status=3, generation=9, offset=4, data=data)
            return {"status": message["status"]}

        device(raw, answers | {transport.SET_DEVICE_STATUS: tell}, version)

    async def work(bus):
        heard = []
        bus.on_event = heard.append
        await bus.devices[1].request(transport.SET_DEVICE_STATUS, status=3)
        await bus.wait(lambda: bool(heard))
        told = heard[0]
        assert (told["status"], told["generation"]) == (3, 9)
        assert told["data"] == (data if length == 4 else b"")
        await bus.devices[1].request(transport.SET_DEVICE_STATUS, status=0)

    run(ffabric, path, act, work)


# What a peer asks for.


def ask_once_in_use(questions, found):
    """A peer that asks when its driver has set the status to 4."""

    def act(raw, answers, version):
        def status(message):
            if message["status"] == 4:
                raw.send(transport.SET_DEVICE_STATUS, token=message.token, response=True, status=4)
                for name, kind, fields in questions:
                    answer = raw.ask(kind, **fields)
                    found[name] = (answer.kind, answer.fields.get("result"))
                raw.send(transport.EVENT_USED, index=0)
                return None
            return {"status": message["status"]}

        device(raw, answers | {transport.SET_DEVICE_STATUS: status}, version)

    return act


def test_a_peer_that_asks_for_what_it_has_not_got(ffabric, path):
    """The bus's own requests are no device side's, and MAP is for whoever is trusted with it."""
    found = {}
    at = ffa.address(1)
    questions = [
        ("odd", abi.WRITE, {"address": at + 1, "data": b"ab"}),
        ("word", abi.WRITE, {"address": at + 8, "data": b"cd"}),
        ("long", abi.WRITE, {"address": at + 16, "data": b"efgh"}),
        ("map", abi.MAP, {"address": at}),
        ("map nothing", abi.MAP, {"address": ffa.address(9)}),
        ("map of nobody", abi.MAP, {"number": 7, "address": at}),
        ("list", bus_abi.GET_DEVICES, {"offset": 0, "count": 8}),
        ("status", transport.GET_DEVICE_STATUS, {}),
    ]

    async def work(bus):
        memory = await bus.mapping.allocate(4096)
        end = bus.devices[1]
        await end.request(transport.SET_DEVICE_STATUS, status=4)
        await bus.wait(lambda: "status" in found)
        written = bus.ffa.memory.read(memory.ipa, 20)
        assert written == b"\0ab".ljust(8, b"\0") + b"cd".ljust(8, b"\0") + b"efgh"
        await end.request(transport.SET_DEVICE_STATUS, status=0)

    run(ffabric, path, ask_once_in_use(questions, found), work, version=2, maps=True)
    done, refused = (abi.WRITE, Access.DONE), (abi.MAP, Access.REFUSED)
    assert found == {
        "odd": done,
        "word": done,
        "long": done,
        "map": refused,  # a part of a bank
        "map nothing": refused,
        "map of nobody": refused,
        "list": (ffa.ERROR, None),
        "status": (ffa.ERROR, None),
    }


def test_nothing_is_mapped_before_a_driver_uses_the_device(ffabric, path):
    found = {}

    def act(raw, answers, version):
        def info(message):
            answer = raw.ask(abi.MAP, address=ffa.address(1))
            found["map"] = answer["result"]
            answer = raw.ask(abi.READ, address=ffa.address(1), length=2)
            found["read"] = answer["result"]
            return INFO

        device(raw, answers | {transport.GET_DEVICE_INFO: info}, version)

    async def work(bus):
        await bus.mapping.allocate(4096)
        await bus.devices[1].identify()

    run(ffabric, path, act, work, version=2, maps=True)
    assert found == {"map": Access.REFUSED, "read": Access.REFUSED}


def test_who_says_hello_twice_is_lost(ffabric, path):
    def act(raw, answers, version):
        raw.hello()
        assert raw.until(abi.RESET) is not None
        answer = raw.ask(abi.HELLO, **HELLO)
        assert answer.kind is ffa.ERROR
        assert raw.recv() is None

    async def work(bus):
        await ours_goes_on(bus)

    said = run(ffabric, path, act, work)
    assert any("HELLO came twice" in line for line in said)


def test_what_is_malformed_or_unknown_is_discarded(ffabric, path):
    def act(raw, answers, version):
        def info(message):
            raw.socket.sendall(bytes.fromhex("02 7e 0000 0700 0800"))
            raw.socket.sendall(bytes.fromhex("02 40 0000 0000 0900 ff"))
            assert raw.ask(bus_abi.PING, data=0xCAFE)["data"] == 0xCAFE
            raw.send(transport.GET_DEVICE_INFO, token=0xEEEE, response=True, **INFO)
            return INFO

        device(raw, answers | {transport.GET_DEVICE_INFO: info}, version)

    async def work(bus):
        assert await bus.devices[1].identify() == 2
        await ours_goes_on(bus)

    assert run(ffabric, path, act, work) == []


# A reset that takes time.


@pytest.mark.parametrize(
    "after", [[1, 0], [1, 0x81], ["short"]], ids=["later", "failed", "nothing that can be read"]
)
def test_memory_comes_back_when_a_peer_says_at_last_that_it_is_reset(ffabric, path, after):
    """Or when it says that it has failed, or says what cannot be read."""
    left = []

    def status(message):
        if message.kind is transport.SET_DEVICE_STATUS and message["status"]:
            left[:] = after
            return {"status": message["status"]}
        value = left.pop(0) if left else 0
        if value == "short":
            head = {"token": message.token, "response": True}
            whole = build(message.kind, PR28, **head, status=0)
            return whole[:6] + (8).to_bytes(2, "little")
        return {"status": value}

    async def work(bus):
        await bus.mapping.allocate(4096)
        await bus.devices[1].request(transport.SET_DEVICE_STATUS, status=4)
        assert await bus.close()

    answers = {transport.SET_DEVICE_STATUS: status, transport.GET_DEVICE_STATUS: status}
    run(ffabric, path, device, work, answers=answers)
