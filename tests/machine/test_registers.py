import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.machine.registers import (
    Register,
    RegisterArray,
    RegisterDevice,
    RegisterMap,
    identification,
    stored,
)


class Example(RegisterDevice):
    def __init__(self):
        self.word = 0
        self.long = 0
        self.bytes = bytearray(8)
        self.commands = []

    def _read_long(self):
        return self.long

    def _write_long(self, value):
        self.long = value

    def _read_byte(self, index):
        return self.bytes[index]

    def _write_byte(self, index, value):
        self.bytes[index] = value

    def _command(self, value):
        self.commands.append(value)

    REGISTERS = RegisterMap(
        stored("WORD", 0x0, "word", 0xFFFF_FFFF),
        Register("COMMAND", 0x4, None, _command),
        Register("LONG", 0x8, _read_long, _write_long, size=8),
        RegisterArray("BYTE", 0x10, 8, _read_byte, _write_byte, size=1),
        *identification("EXAMPLE", 0xFF8, (0x0D, 0xF0)),
    )


@pytest.fixture
def device():
    return Example()


def test_what_no_register_answers_is_zero_and_ignores_writes(device):
    for size in (1, 2, 4, 8):
        device.write(0x800, size, 0x55)
        assert device.read(0x800, size) == 0


def test_constants_ignore_writes_and_write_only_registers_read_as_zero(device):
    device.write(0xFF8, 4, 7)
    device.write(0x4, 4, 3)
    assert [device.read(0xFF8, 4), device.read(0xFFC, 4), device.read(0x4, 4)] == [0x0D, 0xF0, 0]
    assert device.commands == [3]


def test_a_long_register_is_accessed_whole_or_in_halves(device):
    device.write(0x8, 8, 0x1111_2222_3333_4444)
    assert [device.read(0x8, 4), device.read(0xC, 4)] == [0x3333_4444, 0x1111_2222]
    device.write(0xC, 4, 0xAAAA_BBBB)
    assert device.long == 0xAAAA_BBBB_3333_4444
    device.write(0x8, 4, 0xCCCC_DDDD)
    assert device.read(0x8, 8) == 0xAAAA_BBBB_CCCC_DDDD


def test_one_access_may_cover_several_registers(device):
    device.write(0x0, 8, 0x0000_0009_0000_0005)
    assert (device.word, device.commands) == (5, [9])
    assert device.read(0x0, 8) == 5


def test_a_narrow_write_zeroes_the_rest_of_a_word(device):
    device.word = 0xFFFF_FFFF
    device.write(0x2, 2, 0x1234)
    assert device.word == 0x1234_0000
    assert [device.read(at, 1) for at in range(4)] == [0, 0, 0x34, 0x12]


def test_byte_elements_keep_their_neighbours(device):
    device.write(0x10, 8, 0x0807_0605_0403_0201)
    device.write(0x13, 1, 0xFF)
    assert device.bytes == bytes([1, 2, 3, 0xFF, 5, 6, 7, 8])
    assert device.read(0x12, 2) == 0xFF03


def test_registers_are_found_by_offset():
    found = {at: Example.REGISTERS.find(at) for at in (0x0, 0xC, 0x13, 0x100, 0xFFC)}
    names = {at: each and each.name for at, each in found.items()}
    assert names == {0x0: "WORD", 0xC: "LONG", 0x13: "BYTE", 0x100: None, 0xFFC: "EXAMPLE_ID1"}
    assert [register.name for register in Example.REGISTERS][:2] == ["WORD", "COMMAND"]


def test_registers_that_overlap_are_refused():
    with pytest.raises(ValueError, match="B and A overlap at 0x4"):
        RegisterMap(Register("A", 0x0, 0, size=8), Register("B", 0x4, 0))


@pytest.mark.parametrize(
    ("offset", "count", "size"), [(2, 1, 4), (0, 1, 2), (4, 1, 8), (0, 3, 1), (1, 4, 1)]
)
def test_a_register_off_its_alignment_is_refused(offset, count, size):
    with pytest.raises(ValueError, match="X: "):
        RegisterArray("X", offset, count, size=size)


@given(
    st.integers(0, 0x1010),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 2**64 - 1),
)
def test_any_access_gives_a_value_that_fits(offset, size, value):
    device = Example()
    device.write(offset, size, value & (1 << 8 * size) - 1)
    assert 0 <= device.read(offset, size) < 1 << 8 * size
    assert 0 <= device.word < 1 << 32
    assert 0 <= device.long < 1 << 64


@given(st.integers(0, 0x20), st.sampled_from([2, 4, 8]), st.integers(0, 2**64 - 1))
def test_an_access_that_is_not_aligned_does_nothing(offset, size, value):
    device = Example()
    device.write(offset * size + 1, size, value & (1 << 8 * size) - 1)
    assert device.read(offset * size + 1, size) == 0
    assert (device.word, device.long, device.commands) == (0, 0, [])
