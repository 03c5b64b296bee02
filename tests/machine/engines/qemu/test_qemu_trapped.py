"""What a guest in QEMU may do with a device of ours, as the syndrome of its access says it."""

import pytest

from ffabric.machine.bus import Bus
from ffabric.machine.engines.qemu import mailbox as layout
from ffabric.machine.engines.qemu.mailbox import Mailbox
from ffabric.machine.engines.qemu.trapped import Devices, Window
from ffabric.machine.faults import DATA, FETCH, Fault

IPA, PA = 0x5000_0000, 0x1C0F_0000
VALID, SIGNED, WIDE, WRITE = 1 << 24, 1 << 21, 1 << 15, 1 << 6
MINUS = 0x8899_AABB_CCDD_EEFF
"""What a device has where it is read."""


class Device:
    """One that answers with the lowest bytes of `MINUS`, and keeps what it was told."""

    def __init__(self):
        self.heard = []

    def read(self, offset, size):
        self.heard.append(("read", offset, size))
        return MINUS & (1 << 8 * size) - 1

    def write(self, offset, size, value):
        self.heard.append(("write", offset, size, value))


class Guest:
    """A guest with one window on one device of ``size`` bytes."""

    def __init__(self, *, size=0x1000, writable=True, secure=False, at=False):
        self.device = Device()
        bus = Bus()
        bus.add(PA, size, self.device, secure=at)
        self.block = Mailbox(memoryview(bytearray(layout.SIZE)).cast("Q")).block(0, lambda _: None)
        self.devices = Devices(bus, [Window(IPA, IPA + 0x1000, PA, writable)], secure=secure)

    def access(self, *, size=2, register=3, flags=0, offset=0, kind=DATA, valid=VALID):
        syndrome = valid | size << 22 | register << 16 | flags
        write = bool(flags & WRITE)
        ipa = IPA + offset
        return self.devices.access(Fault(kind, ipa, ipa, write, syndrome, 0), self.block)


@pytest.mark.parametrize(
    ("size", "flags", "found"),
    [
        (0, 0, 0xFF),
        (1, 0, 0xEEFF),
        (2, 0, 0xCCDD_EEFF),
        (0, SIGNED, 0xFFFF_FFFF),
        (1, SIGNED, 0xFFFF_EEFF),
        (0, SIGNED | WIDE, 0xFFFF_FFFF_FFFF_FFFF),
        (2, SIGNED | WIDE, 0xFFFF_FFFF_CCDD_EEFF),
        (3, WIDE, 0xCCDD_EEFF_CCDD_EEFF),  # two of 32 bits
    ],
)
@pytest.mark.parametrize("register", [0, 17, 18, 30])
def test_a_load_has_its_width_and_sign(size, flags, found, register):
    guest = Guest()
    assert guest.access(size=size, flags=flags, register=register)
    assert guest.block.register(register) == found


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_store_is_of_the_lowest_bytes(size):
    guest = Guest()
    guest.block.set_register(29, MINUS)
    assert guest.access(size=size, flags=WRITE, register=29, offset=8)
    assert guest.device.heard == [("write", 8, 1 << size, MINUS & (1 << (8 << size)) - 1)]


def test_a_store_of_64_bits_is_two_of_32():
    guest = Guest()
    guest.block.set_register(1, MINUS)
    assert guest.access(size=3, flags=WRITE | WIDE, register=1)
    assert guest.device.heard == [("write", 0, 4, 0xCCDD_EEFF), ("write", 4, 4, 0x8899_AABB)]


def test_the_zero_register_stays_zero_and_stores_zero():
    guest = Guest()
    assert guest.access(register=31)
    assert guest.access(register=31, flags=WRITE)
    assert guest.device.heard == [("read", 0, 4), ("write", 0, 4, 0)]
    assert not any(guest.block.words)


@pytest.mark.parametrize(
    "given",
    [
        {"valid": 0},
        {"kind": FETCH},
        {"offset": -4},
        {"offset": 0x1000},
        {"offset": 0xFFE},
        {"offset": 0xFFC, "size": 3},
    ],
)
def test_what_is_no_access_to_the_device_is_the_guests_abort(given):
    guest = Guest()
    assert not guest.access(**given)
    assert guest.device.heard == []


def test_who_may_only_read_writes_nothing():
    guest = Guest(writable=False)
    assert not guest.access(flags=WRITE)
    assert guest.access()
    assert guest.device.heard == [("read", 0, 4)]


def test_behind_a_device_that_ends_within_its_page_is_nothing():
    guest = Guest(size=6)
    assert guest.access(offset=8)
    assert guest.block.register(3) == 0
    assert guest.access(offset=8, flags=WRITE)
    assert guest.device.heard == []
    assert guest.access(offset=4)  # across its end, as an emulator hands it on
    assert guest.device.heard == [("read", 4, 4)]


@pytest.mark.parametrize(
    ("secure", "at", "reached"),
    [(False, False, True), (False, True, False), (True, False, True), (True, True, True)],
)
def test_a_secure_guest_finds_devices_of_both_spaces(secure, at, reached):
    guest = Guest(secure=secure, at=at)
    assert guest.access()
    assert bool(guest.device.heard) is reached
