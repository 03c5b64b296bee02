import pytest

from ffabric.machine.bus import Bus
from ffabric.machine.memory import MemoryFault

UART = 0x0900_0000


class Recorder:
    def __init__(self, value=0):
        self.value = value
        self.log = []

    def read(self, offset, size):
        self.log.append((offset, size))
        return self.value

    def write(self, offset, size, value):
        self.log.append((offset, size, value))


@pytest.fixture
def bus():
    return Bus()


def test_a_device_sees_offset_and_size(bus):
    device = Recorder(0x2A)
    bus.add(UART, 0x1000, device, secure=False)

    assert bus.read(UART + 0x18, 4, secure=False) == 0x2A
    bus.write(UART + 0xFFF, 1, 7, secure=False)

    assert device.log == [(0x18, 4), (0xFFF, 1, 7)]


def test_a_device_is_in_the_spaces_it_was_put_in(bus):
    bus.add(0x1000, 0x1000, Recorder(1), secure=False)
    bus.add(0x2000, 0x1000, Recorder(2), secure=True)
    bus.add(0x3000, 0x1000, Recorder(3), secure=None)

    def seen(secure):
        return [bus.find(pa, secure=secure) is not None for pa in range(0, 0x5000, 0x1000)]

    assert seen(secure=False) == [False, True, False, True, False]
    assert seen(secure=True) == [False, False, True, True, False]
    assert seen(secure=None) == [False, True, True, True, False]
    with pytest.raises(MemoryFault, match="no device there in the Non-secure space") as caught:
        bus.read(0x2000, 4, secure=False)
    assert caught.value.pa == 0x2000
    with pytest.raises(MemoryFault, match="no device there in the Secure space"):
        bus.write(0x1000, 4, 0, secure=True)


def test_two_views_of_a_device_share_an_address(bus):
    bus.add(UART, 0x1000, Recorder(1), secure=False)
    bus.add(UART, 0x1000, Recorder(2), secure=True)

    assert bus.read(UART, 4, secure=False) == 1
    assert bus.read(UART, 4, secure=True) == 2
    assert [region.secure for region in bus.regions] == [False, True]


@pytest.mark.parametrize("secure", [False, None])
def test_devices_of_one_space_do_not_overlap(bus, secure):
    bus.add(UART, 0x1000, Recorder(), secure=secure)

    with pytest.raises(ValueError, match="overlaps the one at 0x9000000"):
        bus.add(UART + 0xFFC, 0x1000, Recorder(), secure=None)
    assert len(bus.regions) == 1
    assert bus.find(UART + 0x1000) is None


@pytest.mark.parametrize(
    ("base", "size", "fits"),
    [
        (0x1800, 0x800, True),
        (0x1800, 0x801, False),
        (0x17FF, 0x801, False),
        (0x1000, 1, False),
        (0x800, 0x1800, False),
        (0, 0x1000, True),
        (0, 0x9000, False),
        (0x3000, 0x1000, True),
    ],
)
def test_a_device_fits_between_its_neighbours(bus, base, size, fits):
    for at in (0x4000, 0x1000, 0x2000):
        bus.add(at, 0x800, Recorder(), secure=None)
    before = list(bus.regions)

    if fits:
        bus.add(base, size, device := Recorder(), secure=None)
        assert bus.find(base, secure=True).device is bus.find(base, secure=False).device is device
    else:
        with pytest.raises(ValueError, match="overlaps the one at"):
            bus.add(base, size, Recorder(), secure=None)
        assert bus.regions == before


@pytest.mark.parametrize(("base", "size"), [(-1, 4), (0, 0)])
def test_a_device_takes_room(bus, base, size):
    with pytest.raises(ValueError, match="no device can take"):
        bus.add(base, size, Recorder(), secure=None)


def test_an_access_over_the_end_of_a_device_faults(bus):
    device = Recorder()
    bus.add(UART, 0x1000, device, secure=False)

    with pytest.raises(MemoryFault, match="8 bytes run over the end"):
        bus.read(UART + 0xFFC, 8, secure=False)
    assert device.log == []
