"""Traces tell the messages of virtio-msg in words."""

import io

import pytest

from ffabric.abi.ffa.uuids import to_pair
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg.generations import PR28
from ffabric.abi.virtio_msg.message import build
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio.drivers.block import BlockDriver
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.observe import explain
from ffabric.observe.decoding import virtio_msg
from ffabric.observe.decoding.text import Reader
from ffabric.observe.lines import read
from ffabric.observe.trace import Trace
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe


class Client(DriverSide):
    async def work(self, bus):
        disk = await BlockDriver.probe(bus.devices[0])
        await disk.read(0)


@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
def test_a_trace_tells_what_is_said(indirect):
    sink = io.BytesIO()
    devices = DeviceSide([BlockDevice(bytearray(4096))])
    spec = describe(sps=[devices], vms=[Client("client", static=16, indirect=indirect)])
    with boot(spec) as system:
        trace = Trace(system, sink)
        system.attach(trace)
        system.run()
        trace.flush()
    lines = map(read, sink.getvalue().splitlines())
    text = "\n".join(text for _, text in Reader().read(lines))
    for said in (
        "RESET answered: result=0x0",
        "GET_DEVICES answered: offset=0x0 next_offset=0x0 count=0x100",
        "AREA_SHARE area=0x1",
        "SET_DEVICE_STATUS of device 0 status=0xf",
        "EVENT_AVAIL of device 0 index=0x0 next=0x0",
    ):
        assert said in text
    assert ("event taken" in text) is not indirect


def test_what_is_no_message():
    assert virtio_msg.message(b"").startswith("malformed: message (byte 0x0)")
    assert virtio_msg.message(bytes.fromhex("00 7f 0000 0000 0800")).startswith("malformed")
    assert virtio_msg.registers(ffa.BUSY) == "busy"


def test_registers_of_a_request_are_explained():
    sent = build(ffa.AREA_SHARE, PR28, token=5, area=1, handle=0x77, pages=4, attributes=0x6F4)
    registers = [0xC400008D, 0x18001, *to_pair(ffa.DEVICE_UUID), *ffa.to_registers(sent)]
    assert explain.registers(registers)[-2:] == [
        "  uuid = c66028b5-2498-4aa1-9de7-77da6122abf0",
        "  virtio-msg: AREA_SHARE area=0x1 handle=0x77 tag=0x0 pages=0x4 attributes=0x6f4",
    ]
    registers[2] = 0
    assert any(line.startswith("  x17") for line in explain.registers(registers))


def test_a_message_whose_header_has_six_bytes_is_known():
    version = bytes.fromhex("02 80 0000 1800 01000000 01000000 00000000 0f000000 ff00")
    said = virtio_msg.message(version.ljust(112, b"\0"))
    assert said.startswith("VERSION bus_version=0x1 revision=0x1")
    assert said.endswith("max_areas=0xff (rfc2)")
    assert virtio_msg.message(version + b"\1") == said, "Linux leaves there what was there"
    assert virtio_msg.message(version[:-1]).startswith("malformed")
    for taken in ("03 00 0000 0600", "01 41 0100 0600"):
        assert virtio_msg.message(bytes.fromhex(taken)) == "event taken (rfc2)"
    assert virtio_msg.message(bytes.fromhex("01 3f 0100 0600")).startswith("malformed")


def early_message(text):
    return bytes.fromhex(text).ljust(40, b"\0")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("02 01 0000 01000000", "ACTIVATE version=0x1 (alpha or rfc1)"),
        ("03 01 0000 01000000", "ACTIVATE answered (alpha or rfc1)"),
        ("02 03 0000 02ff000000000000", "CONFIGURE features=0xff02 (alpha or rfc1)"),
        (
            "02 04 0000 01000000 7700000000000080",
            "AREA_SHARE area=0x1 handle=0x8000000000000077 (alpha or rfc1)",
        ),
        ("00 0b 0700", "SET_VQUEUE (rfc1) of device 0x7"),
        ("01 09 0000", "answered"),
        ("00 10 0100", "EVENT_CONFIG (alpha) of device 0x1"),
        ("00 21 0100", "EVENT_AVAIL (rfc1) of device 0x1"),
    ],
)
def test_a_message_of_forty_bytes_has_the_meanings_of_both_generations(data, said):
    text = virtio_msg.message(early_message(data))
    assert said in text
    assert virtio_msg.message(early_message(data).ljust(112, b"\0")) == text, "in registers"


@pytest.mark.parametrize("data", ["02 06 0000", "00 30 0000", "04 01 0000"])
def test_forty_bytes_that_mean_nothing_are_no_message(data):
    assert virtio_msg.message(early_message(data)).startswith("malformed")
    assert virtio_msg.message(early_message("02 01 0000 01")[:39]).startswith("malformed")
    assert virtio_msg.message(early_message("02 01 0000 01") + b"\1").startswith("malformed")
