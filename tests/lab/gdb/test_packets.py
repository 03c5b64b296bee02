"""Packets: taken apart however they arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.lab.gdb.packets import MOST, Stream, TooLong, checksum, packed


def test_a_packet_has_the_sum_of_its_bytes():
    assert packed(b"OK") == b"$OK#9a"
    assert checksum(b"") == b"00"


@given(st.binary(max_size=200), st.integers(1, 20))
def test_what_is_packed_arrives_in_pieces_of_any_size(data, size):
    stream, found, sent = Stream(), [], packed(data)
    for at in range(0, len(sent), size):
        packets, _ = stream.feed(sent[at : at + size])
        found += packets
    assert found == [data]


@given(st.binary(max_size=400))
def test_noise_breaks_nothing_and_the_next_packet_arrives(noise):
    stream = Stream()
    stream.feed(noise)
    found = [each for _ in range(2) for each in stream.feed(packed(b"g"))[0]]
    assert b"g" in found


def test_a_wrong_sum_is_asked_for_again_until_both_agree_not_to():
    stream = Stream()
    assert stream.feed(b"$g#00") == ([], b"-")
    assert stream.feed(b"$g#67") == ([b"g"], b"+")
    stream.acknowledges = False
    assert stream.feed(b"$g#00") == ([], b"")


def test_an_interrupt_comes_between_packets():
    assert Stream().feed(b"+\x03$g#67")[0] == [b"\x03", b"g"]


def test_a_packet_without_end_is_too_long():
    stream = Stream()
    with pytest.raises(TooLong):
        stream.feed(b"$" + b"x" * (MOST + 8))
