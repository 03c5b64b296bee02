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
