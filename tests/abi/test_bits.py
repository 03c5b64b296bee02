"""Words of bit fields: reading, building, printing."""

from enum import IntEnum

import pytest

from ffabric.abi.bits import Bit, Bits, Word


class Colour(IntEnum):
    RED = 0
    BLUE = 2


class Paint(Word):
    GLOSS = Bit(7)
    COLOUR = Bits(5, 4, Colour)
    COATS = Bits(3, 0)


class NewPaint(Paint):
    SCENT = Bit(8, since=2)


def test_fields_of_a_value():
    word = Paint(0xA3)
    assert (word.GLOSS, word.COLOUR, word.COATS) == (1, Colour.BLUE, 3)
    assert isinstance(word.COLOUR, Colour)
    assert word == 0xA3


def test_a_value_that_the_enumeration_lacks_stays_a_number():
    assert Paint(0x10).COLOUR == 1
    assert not isinstance(Paint(0x10).COLOUR, Colour)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (Paint(0xA3), "0xa3 (GLOSS=1, COLOUR=BLUE, COATS=3)"),
        (Paint(0), "0x0 (COLOUR=RED)"),
        (Paint(0x1010), "0x1010 (COLOUR=1, reserved=0x1000)"),
        (NewPaint(0x100), "0x100 (COLOUR=RED, SCENT=1)"),
        (Word(0x5), "0x5 (reserved=0x5)"),
        (Word(0), "0x0"),
    ],
)
def test_printing(word, text):
    assert str(word) == repr(word) == f"{word}" == text


def test_building_is_the_inverse_of_reading():
    word = Paint.build(GLOSS=1, COLOUR=Colour.BLUE, COATS=3)
    assert word == 0xA3
    assert Paint.build(**dict(word.fields())) == word


def test_building_wrongly():
    with pytest.raises(ValueError, match="COATS"):
        Paint.build(COATS=16)
    with pytest.raises(ValueError, match="no field DULL"):
        Paint.build(DULL=1)


def test_defined_bits_depend_on_the_version():
    assert Paint.defined() == 0xBF
    assert NewPaint.defined(1) == 0xBF
    assert NewPaint.defined(2) == 0x1BF


def test_the_class_gives_the_field_itself():
    assert Paint.COLOUR.mask == 0x30
    assert (Paint.COLOUR.hi, Paint.COLOUR.lo, Paint.COLOUR.width) == (5, 4, 2)
