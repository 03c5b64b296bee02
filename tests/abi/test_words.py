"""The words that every ABI shares, and that nobody else declares them."""

import ast
import re
from pathlib import Path

import pytest

import ffabric
from ffabric.abi import words

SOURCE = Path(ffabric.__file__).parent
DECLARED = re.compile(r"_?(MASK(16|32|64)|PAGE(_SIZE|_SHIFT)?|GRANULE|SECURE_(BIT|ID)|ALWAYS)")
"""Names of what is declared once, and what it has been called elsewhere."""


def test_two_ids_share_a_register():
    assert words.pack_ids(0x8001, 0x0002) == 0x8001_0002
    assert words.unpack_ids(0x8001_0002) == (0x8001, 0x0002)
    assert words.unpack_ids(0xDEAD_BEEF_8001_0002) == (0x8001, 0x0002)


def test_a_handle_is_two_registers_low_half_first():
    assert words.halves(0x8000_0000_0000_0005) == (5, 0x8000_0000)
    assert words.join(5, 0x8000_0000) == 0x8000_0000_0000_0005


def test_the_upper_halves_of_w_registers_are_not_looked_at():
    assert words.join(0xAAAA_0000_0001, 0xBBBB_0000_0002) == 0x0000_0002_0000_0001


@pytest.mark.parametrize(("size", "pages"), [(0, 0), (1, 1), (4096, 1), (4097, 2)])
def test_memory_comes_in_whole_pages(size, pages):
    assert words.pages_for(size) == pages
    assert words.pages_for(size) << words.PAGE_SHIFT == pages * words.PAGE


def test_each_word_is_declared_once():
    found = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", 0)]
            for target in targets:
                if isinstance(target, ast.Name) and DECLARED.fullmatch(target.id):
                    found.setdefault(target.id, []).append(path.relative_to(SOURCE).as_posix())
    known = {name: ["abi/words.py"] for name in vars(words) if DECLARED.fullmatch(name)}
    assert found == {**known, "ALWAYS": ["abi/bits.py"]}
