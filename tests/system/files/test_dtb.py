"""The blob codec: round trips, hostile bytes, and agreement with dtc."""

import re
import shutil
import struct
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi.errors import DecodeError
from ffabric.system.files.dtb import Node, Tree, build_dtb, parse_dtb

quick = settings(derandomize=True, deadline=None, max_examples=60)

SAMPLE = Tree(
    Node(
        "",
        {
            "compatible": b"arm,ffa-manifest-1.0\0",
            "words": struct.pack(">4I", 1, 2, 3, 4),
            "address": struct.pack(">Q", 0x8_8000_0000),
            "flag": b"",
            "names": b"one\0two\0",
            "odd": b"\x01\x02\x03",
        },
        [
            Node("memory@80000000", {"words": b"\0\0\0\7"}, [Node("inner"), Node("other")]),
            Node("empty"),
        ],
    ),
    [(0x8000_0000, 0x1_0000), (0x9000_0000, 0x1000)],
    2,
)

names = st.text("abcdefghij,._+-?#0123456789", min_size=1, max_size=12)
values = st.binary(max_size=20)


def nodes(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.builds(
        Node,
        names,
        st.dictionaries(names, values, max_size=4),
        st.lists(children, max_size=3, unique_by=lambda node: node.name),
    )


trees = st.recursive(
    st.builds(Node, names, st.dictionaries(names, values, max_size=4)), nodes, max_leaves=8
).map(lambda node: Node("", node.props, node.children))


def test_round_trip() -> None:
    assert parse_dtb(build_dtb(SAMPLE)) == SAMPLE


@quick
@given(trees)
def test_every_tree_round_trips(root: Node) -> None:
    blob = build_dtb(root)
    assert parse_dtb(blob) == Tree(root)
    assert build_dtb(parse_dtb(blob)) == blob


def test_bytes_after_the_blob_are_ignored() -> None:
    assert parse_dtb(build_dtb(SAMPLE) + b"\xff" * 100) == SAMPLE


def test_getters() -> None:
    root = SAMPLE.root
    assert root.string("compatible") == "arm,ffa-manifest-1.0"
    assert root.strings("names") == ("one", "two")
    assert root.cells("words") == (1, 2, 3, 4)
    assert root.u64("address") == 0x8_8000_0000
    memory = root.child("memory@80000000")
    assert memory is not None
    assert (memory.u32("words"), memory.u64("words")) == (7, 7)
    assert root.child("nothing") is None


@pytest.mark.parametrize(
    ("getter", "name", "reason"),
    [
        ("u32", "words", "16 bytes where 4 are expected"),
        ("u64", "odd", "3 bytes where 4 or 8 are expected"),
        ("cells", "odd", "3 bytes are not 32-bit cells"),
        ("string", "names", "2 strings where one is expected"),
        ("string", "odd", "a string must end in a nul byte"),
        ("u32", "absent", "the property is missing"),
    ],
)
def test_getters_say_what_is_wrong(getter: str, name: str, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason) as caught:
        getattr(SAMPLE.root, getter)(name)
    assert caught.value.path == name


def test_a_string_must_be_utf8() -> None:
    with pytest.raises(DecodeError, match="UTF-8"):
        Node("", {"text": b"\xff\0"}).string("text")


def test_walk_gives_paths_in_document_order() -> None:
    assert [path for path, _ in SAMPLE.root.walk()] == [
        "/",
        "/memory@80000000",
        "/memory@80000000/inner",
        "/memory@80000000/other",
        "/empty",
    ]


@quick
@given(st.data())
def test_mutated_blobs_decode_or_refuse(data: st.DataObject) -> None:
    blob = bytearray(build_dtb(SAMPLE))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(blob) // 4 - 1)) * 4
        word = data.draw(st.sampled_from([0, 1, 2, 3, 4, 9, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFC]))
        blob[at : at + 4] = struct.pack(">I", word)
    cut = data.draw(st.integers(0, len(blob)))
    for candidate in (bytes(blob), bytes(blob[:cut])):
        try:
            tree = parse_dtb(candidate)
        except DecodeError:
            continue
        assert parse_dtb(build_dtb(tree)) == tree


@quick
@given(st.binary(max_size=200))
def test_any_bytes_decode_or_refuse(data: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_dtb(data)


def word(blob: bytes, offset: int, value: int) -> bytes:
    return blob[:offset] + struct.pack(">I", value) + blob[offset + 4 :]


def tokens(*parts: bytes | int) -> bytes:
    """A blob around a hand-made structure block; `name` is the only property name."""
    body = b"".join(struct.pack(">I", p) if isinstance(p, int) else p for p in parts)
    strings = b"name\0"
    header = struct.pack(
        ">10I", 0xD00DFEED, 56 + len(body) + 5, 56, 56 + len(body), 40, 17, 16, 0, 5, len(body)
    )
    return header + bytes(16) + body + strings


ROOT = struct.pack(">II", 1, 0)


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"\xd0\x0d\xfe\xed", "shorter than the 40-byte header"),
        (word(build_dtb(SAMPLE), 0, 1), "not a flattened devicetree"),
        (word(build_dtb(SAMPLE), 4, 1 << 20), "the blob has"),
        (word(build_dtb(SAMPLE), 20, 15), "only versions 16 and 17"),
        (word(build_dtb(SAMPLE), 8, 42), "not 4-byte aligned"),
        (word(build_dtb(SAMPLE), 8, 0), "the block leaves the blob"),
        (word(build_dtb(SAMPLE), 12, 1 << 20), "the block leaves the blob"),
        (word(build_dtb(SAMPLE), 16, 44), "not 8-byte aligned"),
        (tokens(ROOT, 2, ROOT, 2, 9), "a second root node"),
        (tokens(ROOT, 3, 4, 0, b"abcd", 3, 0, 0, 2, 9), "a second property of this name"),
        (tokens(ROOT, 1, b"aaa\0", 2, 1, b"aaa\0", 2, 2, 9), "a second child of this name"),
        (tokens(ROOT, 1, b"aaa\0", 2, 3, 0, 0, 2, 9), "a property after a child node"),
        (tokens(ROOT, 3, 400, 0, 2, 9), "leaves the structure block"),
        (tokens(ROOT, 3, 0, 5, 2, 9), "not the offset of a property's name"),
        (tokens(ROOT, 3, 0, 4, 2, 9), "not the offset of a property's name"),
        (tokens(ROOT, 3, 0), "a property is cut off"),
        (tokens(ROOT, 2), "ends without an end token"),
        (tokens(ROOT, 9), "the tree ends inside a node"),
        (tokens(9), "the tree ends inside a node"),
        (tokens(ROOT, 7, 2, 9), "not a token that can stand here"),
        (tokens(2, 9), "not a token that can stand here"),
        (tokens(1, b"aaa\0", 2, 9), "not a node's name"),
        (tokens(ROOT, 1, b"a/a\0", 2, 2, 9), "not a node's name"),
        (tokens(ROOT, 1, b"aaaa"), "a node's name does not end"),
        (tokens(ROOT, *([1, b"aaa\0"] * 64)), "nested deeper than 64 nodes"),  # type: ignore[arg-type]
    ],
)
def test_hostile_bytes(blob: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=re.escape(reason)):
        parse_dtb(blob)


def test_an_endless_reservation_list_is_refused() -> None:
    blob = build_dtb(SAMPLE)
    with pytest.raises(DecodeError, match="the list does not end"):
        parse_dtb(word(blob, 16, (len(blob) - 8) & ~7))


def test_version_16_has_no_structure_size() -> None:
    blob = word(word(build_dtb(SAMPLE), 20, 16), 36, 0)
    assert parse_dtb(blob) == SAMPLE


def test_nops_are_skipped() -> None:
    assert parse_dtb(tokens(4, ROOT, 4, 2, 4, 9)).root == Node()


@pytest.mark.parametrize(
    "node",
    [
        Node("root"),
        Node("", {"sp ace": b""}),
        Node("", {"": b""}),
        Node("", {}, [Node("")]),
        Node("", {}, [Node("a/b")]),
    ],
)
def test_building_wrongly_raises_at_once(node: Node) -> None:
    with pytest.raises(ValueError, match="name"):
        build_dtb(node)


def dtc(blob: bytes, *options: str) -> bytes:
    return subprocess.run(
        ["dtc", "-q", *options, "-"], input=blob, capture_output=True, check=True
    ).stdout


@pytest.mark.skipif(shutil.which("dtc") is None, reason="needs device-tree-compiler")
def test_dtc_reads_what_we_write_and_we_read_what_dtc_writes() -> None:
    blob = build_dtb(SAMPLE)
    source = dtc(blob, "-I", "dtb", "-O", "dts")
    assert b'names = "one", "two";' in source or b'names = "one\\0two";' in source
    assert b"/memreserve/" in source
    for version in ("16", "17"):
        theirs = dtc(source, "-I", "dts", "-O", "dtb", "-V", version, "-b", "2")
        assert parse_dtb(theirs) == SAMPLE
