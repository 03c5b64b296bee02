"""Images: raw binaries and AArch64 ELF files."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elf_files import elf
from ffabric.abi.errors import DecodeError
from ffabric.system.files.images import Image, ImagePart, parse_image
from ffabric.system.files.symbols import Segment, Symbols

RAW = b"\x14\x00\x00\x14" + bytes(12)


TEXT = (0x8000_0000, 0x8000_0000, bytes(range(64)), 64)
BSS = (0x8000_1000, 0x8000_1000, b"data", 0x2000)


def test_a_raw_image_is_entered_at_its_first_byte() -> None:
    image = parse_image(RAW)
    assert image == Image((ImagePart(0, RAW, 16),), 0)
    assert image.moved(0x4000) == Image((ImagePart(0x4000, RAW, 16),), 0x4000)
    assert image.end == 16


def test_a_raw_image_can_be_entered_elsewhere() -> None:
    image = parse_image(RAW).moved(0x4000)
    assert image.entered(0x4008).entry == 0x4008
    assert image.entered(None) is image
    with pytest.raises(DecodeError, match="not in the image, 0x4000-0x400f"):
        image.entered(0x2000)


def test_an_executable_is_tied_to_its_place() -> None:
    image = parse_image(elf(TEXT, BSS))
    assert image.base == 0x8000_0000
    assert image.entry == 0x10
    assert image.parts == (
        ImagePart(0, bytes(range(64)), 64),
        ImagePart(0x1000, b"data", 0x2000),
    )
    assert image.end == 0x3000
    assert image.moved(0x4000) is image
    assert image.entered(0) is image


def test_a_shared_object_goes_anywhere() -> None:
    image = parse_image(elf((0, 0, RAW, 16), kind=3, entry=8))
    assert (image.base, image.entry) == (None, 8)
    assert image.moved(0x4000).entry == 0x4008
    assert image.moved(0x4000).is_elf


def test_the_physical_address_says_where_a_segment_goes() -> None:
    image = parse_image(elf((0xFFFF_0000_0000, 0x9000_0000, RAW, 16), entry=0xFFFF_0000_0004))
    assert (image.base, image.entry) == (0x9000_0000, 4)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"\x7fELF", "shorter than an ELF header"),
        (elf(TEXT, machine=62), "not a little-endian AArch64 ELF file"),
        (elf(TEXT, kind=1), "neither an executable nor a shared object"),
        (elf(TEXT, phentsize=32), "the program headers leave the file"),
        (elf(), "no segment to load"),
        (elf(TEXT)[:100], "the program headers leave the file"),
        (elf(TEXT)[:140], "the segment leaves the file"),
        (elf((0, 0, RAW, 4), entry=0), "the segment leaves the file"),
        (elf(TEXT, entry=0), "the entry point is in no segment"),
    ],
)
def test_images_that_cannot_be(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        parse_image(data)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.data())
def test_mutated_elf_files_decode_or_refuse(data: st.DataObject) -> None:
    blob = bytearray(elf(TEXT, BSS))
    at = data.draw(st.integers(4, len(blob) - 8))
    blob[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    try:
        parse_image(bytes(blob))
    except DecodeError:
        return


def in_line(count: int, size: int = 64) -> list[tuple[int, int, bytes, int]]:
    """Segments one behind the other, each with the content that it has to itself."""
    return [
        (TEXT[0] + size * n, TEXT[1] + size * n, bytes([n % 256]) * size, size)
        for n in range(count)
    ]


def sharing(count: int, data: bytes) -> bytes:
    """An executable whose segments all have the whole of the file as their content."""
    head = bytearray(elf(*in_line(count)))
    whole = len(head) + len(data)
    for n in range(count):
        paddr = TEXT[1] + n * (whole + 0x1000)
        place = 64 + 56 * n
        struct.pack_into("<IIQQQQQQ", head, place, 1, 5, 0, paddr, paddr, whole, whole, 0x1000)
    return bytes(head) + data


def test_an_executable_has_up_to_64_program_headers() -> None:
    assert len(parse_image(elf(*in_line(64))).parts) == 64
    with pytest.raises(DecodeError, match="more than 64 program headers"):
        parse_image(elf(*in_line(65)))


def test_segments_do_not_share_their_content() -> None:
    assert len(parse_image(sharing(1, bytes(100))).parts) == 1
    with pytest.raises(DecodeError, match="segments share their content"):
        parse_image(sharing(2, bytes(100)))


def test_segments_do_not_overlap_in_memory() -> None:
    behind = (0x8000_0040, 0x8000_0040, b"data", 64)
    assert len(parse_image(elf(TEXT, behind)).parts) == 2
    with pytest.raises(DecodeError, match="it overlaps another segment"):
        parse_image(elf(TEXT, (0x8000_0040, 0x8000_003F, b"data", 64)))


def test_a_dynamically_linked_program_is_refused_by_the_name_of_its_interpreter() -> None:
    with pytest.raises(DecodeError, match=r"PT_INTERP") as refused:
        parse_image(elf(TEXT, interpreter=b"/lib/ld-linux-aarch64.so.1\0"))
    assert "/lib/ld-linux-aarch64.so.1" in str(refused.value)


@pytest.mark.parametrize("entry", [0x8000_0001, 0x8000_0002, 0x8000_0013])
def test_an_entry_between_two_instructions_is_refused(entry: int) -> None:
    with pytest.raises(DecodeError, match="multiples of 4"):
        parse_image(elf(TEXT, entry=entry))
    with pytest.raises(DecodeError, match="multiples of 4"):
        parse_image(RAW).entered(entry & 3)


SYMBOLS = {"start": (0x8000_0000, 16), "main": (0x8000_0010, 0), "data": (0x8000_1000, 4)}


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0x7FFF_FFFF, ""),
        (0x8000_0000, "start"),
        (0x8000_000C, "start+0xc"),
        (0x8000_0010, "main"),
        (0x8000_003C, "main+0x2c"),
        (0x8000_0040, ""),
        (0x8000_1003, "data+0x3"),
        (0x8000_1004, ""),
    ],
)
def test_an_address_has_the_symbol_that_it_lies_in(address: int, name: str) -> None:
    symbols = parse_image(elf(TEXT, BSS, symbols=SYMBOLS)).symbols
    assert symbols is not None
    assert symbols.at(address) == name
    assert symbols.at_offset(address - 0x8000_0000) == name


def test_symbols_move_with_their_image() -> None:
    image = parse_image(elf((0, 0, RAW, 16), kind=3, entry=8, symbols={"main": (8, 4)}))
    symbols = image.moved(0x4000).symbols
    assert symbols is not None
    assert symbols.at_offset(0x4008) == "main"
    assert symbols.at_offset(0x0008) == ""


def test_a_stripped_file_has_no_symbols_nor_has_one_with_a_broken_table() -> None:
    assert parse_image(elf(TEXT)).symbols is None
    whole = elf(TEXT, symbols=SYMBOLS)
    assert parse_image(whole[:-1]).symbols is None


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_any_symbol_table_is_read(table: bytes, strings: bytes) -> None:
    symbols = Symbols(table, strings, [Segment(0, 0, 1 << 64)])
    assert isinstance(symbols.at(0x1000), str)
