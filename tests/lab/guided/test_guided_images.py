"""Campaigns against images: blocks guide them, and numbers of their instructions are tried."""

import shutil
import struct
import subprocess

import pytest

from ffabric.lab.guided.campaign import Attack, State, campaign
from ffabric.lab.guided.cases import decode
from ffabric.lab.guided.instructions import MOST, numbers_of
from ffabric.lab.processes import Players, spread
from ffabric.system.files.images import Image, ImagePart

VAULT = """
        .include "ffa.inc"
        .text
        mov     x19, #0                 // whether it is open
wait:   load32  w0, FFA_MSG_WAIT
        mov     x1, #0
        mov     x2, #0
        mov     x3, #0
        mov     x4, #0
        mov     x5, #0
        mov     x6, #0
        mov     x7, #0
        smc     #0
asked:  load32  w20, FFA_MSG_SEND_DIRECT_REQ_32
        load32  w21, FFA_MSG_SEND_DIRECT_RESP_32
        cmp     w0, w20
        b.eq    answer
        load32  w20, FFA_MSG_SEND_DIRECT_REQ2
        load32  w21, FFA_MSG_SEND_DIRECT_RESP2
        cmp     w0, w20
        b.eq    answer
        load32  w20, FFA_MSG_SEND_DIRECT_REQ_64
        load32  w21, FFA_MSG_SEND_DIRECT_RESP_64
        cmp     w0, w20
        b.ne    wait
        cmp     x3, #0xbe
        b.eq    open
        load32  w20, 0xc0de1234
        cmp     x3, x20
        b.ne    answer
        cbz     x19, answer
        udf     #0                      // opened by force
open:   mov     x19, #1
answer: mov     w0, w21
        ror     w1, w1, #16
        mov     x2, #0
        mov     x3, #0
        smc     #0
        b       asked
"""
SYSTEM = """
name = "mine"
[[sp]]
name = "vault"
image = "vault.bin"
[[vm]]
name = "client"
python = "client.py:Client"
"""
PREFIX = "aarch64-linux-gnu-"


@pytest.fixture
def vault(tmp_path, request):
    """A system with an image that two requests with the right numbers open by force."""
    assert shutil.which(f"{PREFIX}as"), "no assembler: apt-get install binutils-aarch64-linux-gnu"
    images = request.config.rootpath / "src/ffabric/guests/images"
    (tmp_path / "vault.S").write_text(VAULT)
    (tmp_path / "client.py").write_text(
        "from ffabric import Partition\n\n\nclass Client(Partition):\n    pass\n"
    )
    built = tmp_path / "vault.o"
    subprocess.run([f"{PREFIX}as", "-I", images, "-o", built, tmp_path / "vault.S"], check=True)
    flat = ("-O", "binary", "-j", ".text")
    subprocess.run([f"{PREFIX}objcopy", *flat, built, tmp_path / "vault.bin"], check=True)
    (tmp_path / "mine.toml").write_text(SYSTEM)
    return tmp_path / "mine.toml"


def attacked(file, *, calls, processes=1):
    state = State(Attack(str(file), ("client",)), seed=3)
    state.begin_with(())
    for _ in campaign(state, calls, Players(spread, processes), keep_going=False):
        pass
    return state


def test_a_fault_behind_two_requests_with_numbers_of_the_image_is_found(vault):
    (broken,) = attacked(vault, calls=20_000).broken.values()
    assert (broken.finding.kind, broken.finding.who) == ("crashed", "vault")
    calls, _ = decode(broken.text)
    assert [call.x[3] for call in calls if call.x] == [0xBE, 0xC0DE1234]


def test_blocks_of_images_count_the_same_however_many_processes_play(vault):
    one, two = (attacked(vault, calls=1, processes=count) for count in (1, 2))
    assert {each for each in one.features if each.startswith("block vault+0x")}
    assert one.digest == two.digest


def image(*words):
    data = struct.pack(f"<{len(words)}I", *words)
    return Image((ImagePart(0, data, len(data)),), 0)


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ((0xF102F87F,), {0xBE}),  # cmp x3, #0xbe
        ((0x7140047F,), {0x1000}),  # cmp w3, #1, lsl #12
        ((0x52824694, 0x72B81BD4), {0xC0DE1234}),  # movz w20, ...; movk w20, ..., lsl #16
        ((0x52824694, 0x72B81BD5), {0x1234}),  # movk of another register
        ((0x52824694, 0xD503201F, 0x72B81BD4), {0x1234}),  # nop in between
        ((0x72B81BD4, 0xF102F860), set()),  # movk alone; subs x0, x3, #0xbe
    ],
)
def test_numbers_of_instructions(words, numbers):
    assert numbers_of(image(*words)) == numbers


def test_of_many_numbers_those_that_occur_most_often_are_taken():
    many = [0x52800000 | number << 5 for number in range(1, 1000)]
    found = numbers_of(image(*many, *many[:5]))
    assert len(found) == MOST
    assert {1, 2, 3, 4, 5} <= found


def test_what_is_no_multiple_of_an_instruction_is_read_as_far_as_it_goes():
    assert numbers_of(Image((ImagePart(0, b"\x7f\xf8\x02\xf1\x7f", 5),), 0)) == {0xBE}
