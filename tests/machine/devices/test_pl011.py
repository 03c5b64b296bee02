import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.machine.devices.pl011 import Pl011

DR, RSR, FR, IBRD, FBRD, LCR_H, CR = 0x0, 0x4, 0x18, 0x24, 0x28, 0x2C, 0x30
IFLS, IMSC, RIS, MIS, ICR = 0x34, 0x38, 0x3C, 0x40, 0x44
RXFE, TXFF, RXFF, TXFE = 0x10, 0x20, 0x40, 0x80
RX, TX, RT, OE = 1 << 4, 1 << 5, 1 << 6, 1 << 10
UARTEN, LBE, TXE, RXE = 0x1, 0x80, 0x100, 0x200


@pytest.fixture
def sent():
    return bytearray()


@pytest.fixture
def lines():
    return []


@pytest.fixture
def levels():
    return []


@pytest.fixture
def uart(levels, sent, lines):
    return Pl011(levels.append, sent.append, lines.append)


def put(uart, text):
    for byte in text.encode():
        assert not uart.read(FR, 4) & TXFF
        uart.write(DR, 4, byte)


def test_the_acs_driver_spins_until_control_reads_back(uart, sent):
    uart.write(CR, 4, uart.read(CR, 4) & ~UARTEN)
    assert not uart.read(CR, 4) & UARTEN
    divisor = 24_000_000 * 4 // 115_200
    for offset, value in ((IBRD, divisor >> 6), (FBRD, divisor & 0x3F), (LCR_H, 0x70)):
        uart.write(offset, 4, value)
        assert uart.read(offset, 4) == value
    uart.write(RSR, 4, 0)
    uart.write(CR, 4, UARTEN | TXE)
    assert uart.read(CR, 4) == UARTEN | TXE
    put(uart, "ok\n")
    assert sent == b"ok\n"


def test_output_by_byte_and_by_line(uart, sent, lines):
    put(uart, "one\r\ntwo\n\nthr\xe9e")
    assert lines == ["one", "two", ""]
    assert sent == "one\r\ntwo\n\nthr\xe9e".encode()
    uart.flush()
    uart.flush()
    assert lines == ["one", "two", "", "thr\xe9e"]


def test_output_that_is_not_text(uart, lines):
    for byte in b"\xff\x80\n":
        uart.write(DR, 1, byte)
    assert lines == ["\\xff\\x80"]


def test_output_may_lead_nowhere(levels):
    uart = Pl011(levels.append)
    put(uart, "x\n")
    uart.flush()
    assert uart.read(FR, 4) == RXFE | TXFE


@pytest.mark.parametrize(("lcr", "depth"), [(0x60, 1), (0x70, 32)])
def test_the_fifo_fills_while_the_transmitter_is_off(uart, sent, lcr, depth):
    uart.write(LCR_H, 4, lcr)
    uart.write(CR, 4, UARTEN)
    for count in range(depth):
        assert uart.read(FR, 4) & TXFF == 0
        uart.write(DR, 4, ord("a") + count)
    assert uart.read(FR, 4) & (TXFF | TXFE) == TXFF
    uart.write(DR, 4, ord("!"))  # lost
    assert sent == b""
    uart.write(CR, 4, UARTEN | TXE)
    assert sent == bytes(range(ord("a"), ord("a") + depth))
    assert uart.read(FR, 4) & (TXFF | TXFE) == TXFE


def test_the_transmit_interrupt_is_an_event(uart, levels):
    uart.write(IMSC, 4, TX)
    assert levels == []
    put(uart, "x")
    assert (levels, uart.read(RIS, 4), uart.read(MIS, 4)) == ([True], TX, TX)
    uart.write(ICR, 4, TX)
    assert (levels, uart.read(RIS, 4)) == ([True, False], 0)
    uart.write(IMSC, 4, 0)
    put(uart, "y")
    assert (levels, uart.read(RIS, 4), uart.read(MIS, 4)) == ([True, False], TX, 0)
    uart.write(IMSC, 4, TX)
    assert levels == [True, False, True]


def test_input_waits_to_be_read(uart, levels):
    uart.write(LCR_H, 4, 0x70)
    uart.write(IMSC, 4, RX | RT)
    assert uart.receive(b"ab") == 2
    assert levels == [True]
    assert uart.read(RIS, 4) == RT
    assert uart.read(FR, 4) & RXFE == 0
    assert [uart.read(DR, 4), uart.read(DR, 4), uart.read(DR, 4)] == [ord("a"), ord("b"), 0]
    assert uart.read(FR, 4) & RXFE
    assert (levels, uart.read(RIS, 4)) == ([True, False], 0)


@pytest.mark.parametrize(
    ("levels_select", "trigger"),
    [(0 << 3, 4), (1 << 3, 8), (2 << 3, 16), (3 << 3, 24), (4 << 3, 28)],
)
def test_the_receive_interrupt_comes_at_the_trigger_level(uart, levels_select, trigger):
    uart.write(LCR_H, 4, 0x70)
    uart.write(IFLS, 4, levels_select)
    uart.receive(b"x" * (trigger - 1))
    assert uart.read(RIS, 4) & RX == 0
    uart.receive(b"x")
    assert uart.read(RIS, 4) & RX
    uart.read(DR, 4)
    assert uart.read(RIS, 4) & RX == 0


@pytest.mark.parametrize(("lcr", "depth"), [(0, 1), (0x10, 32)])
def test_too_much_input_overruns(uart, lcr, depth):
    uart.write(LCR_H, 4, lcr)
    assert uart.receive(b"z" * 40) == depth
    assert uart.read(FR, 4) & RXFF
    assert uart.read(RIS, 4) & OE
    assert uart.read(RSR, 4) == 8
    uart.write(RSR, 4, 0)
    uart.write(ICR, 4, OE)
    assert (uart.read(RSR, 4), uart.read(RIS, 4) & OE) == (0, 0)


def test_a_receiver_that_is_off_takes_nothing(uart):
    uart.write(CR, 4, UARTEN | TXE)
    assert uart.receive(b"x") == 0
    assert uart.read(FR, 4) & RXFE


def test_loopback(uart, sent):
    uart.write(CR, 4, UARTEN | TXE | RXE | LBE)
    uart.write(DR, 4, 0x55)
    assert (uart.read(DR, 4), sent) == (0x55, b"")


def test_identification(uart):
    identification = [uart.read(0xFE0 + 4 * n, 4) for n in range(8)]
    assert identification == [0x11, 0x10, 0x34, 0x00, 0x0D, 0xF0, 0x05, 0xB1]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from([DR, CR, IFLS, IMSC, ICR, LCR_H]), st.integers(0, 0xFFFF)),
            st.tuples(st.just("receive"), st.integers(0, 40)),
            st.tuples(st.just("read"), st.integers(0, 3)),
        ),
        max_size=40,
    )
)
def test_the_line_always_is_mis(steps):
    lines = [False]
    uart = Pl011(lines.append)
    for what, value in steps:
        if what == "receive":
            uart.receive(bytes(value))
        elif what == "read":
            uart.read(DR, 4)
        else:
            uart.write(what, 4, value)
        assert lines[-1] == bool(uart.read(MIS, 4))
        assert uart.read(MIS, 4) == uart.read(RIS, 4) & uart.read(IMSC, 4)
        flags = uart.read(FR, 4)
        assert not (flags & RXFE and flags & RXFF)
        assert not (flags & TXFE and flags & TXFF)
