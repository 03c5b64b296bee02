"""``ffabric run`` of images: how a run ends, its exit status, and what a fault line says."""

import struct

import pytest

from elf_files import elf
from ffabric.abi.ffa import functions as fid
from ffabric.cli.running.run import run

SPIN = 0x14000000
RET = 0xD65F03C0
WFI = 0xD503207F
SMC, HVC = 0xD4000003, 0xD4000002
LOAD = (0xD2C02461, 0xF9400020)  # movz x1, #0x123, lsl #32; ldr x0, [x1]


def movz(register, value, shift=0):
    return 0xD2800000 | shift // 16 << 21 | value << 5 | register


def call(function, *, conduit):
    """Call with the function id, x1 as it is."""
    return movz(0, function >> 16, 16), 0xF2800000 | (function & 0xFFFF) << 5, conduit


def code(*words):
    return struct.pack(f"<{len(words)}I", *words)


@pytest.fixture
def boots(tmp_path, capsys):
    """Writes images and a system, runs it; its exit status and what it printed, unwrapped."""

    def boots(body, images, **options):
        for name, image in images.items():
            (tmp_path / name).write_bytes(image)
        (tmp_path / "system.toml").write_text(body)
        status = run(tmp_path / "system.toml", **options)
        return status, " ".join(capsys.readouterr().out.split())

    return boots


VM = """
[[vm]]
name = "guest"
image = "guest.bin"
[run]
wedged_after = 1_000_000
{}
"""
SP = """
[[sp]]
name = "service"
image = "service.bin"
{}
[run]
wedged_after = 1_000_000
"""
EVERYTHING = (
    " vCPU guest.0 at EL1, PC 0x",
    " ELR 0x",
    " ESR 0x",
    " FAR 0x",
    " IPA 0x",
    " PSTATE 0x",
)


def test_a_vm_that_faults_without_end_has_crashed(boots):
    status, out = boots(VM.format(""), {"guest.bin": code(*LOAD, SPIN)})
    assert status == 3
    assert "guest crashed: exceptions without end, the first at PC 0x" in out
    assert all(word in out for word in EVERYTHING)
    assert "FAR 0x12300000000, IPA 0x12300000000" in out


def test_an_sp_that_faults_without_end_has_crashed(boots):
    status, out = boots(SP.format(""), {"service.bin": code(*LOAD, SPIN)})
    assert status == 3
    assert "service crashed: exceptions without end, the first at PC 0x" in out
    assert "vCPU service.0 at EL1" in out


def test_an_sp_at_s_el0_that_faults_has_crashed(boots):
    level = "[sp.properties]\nexception-level = 1"
    status, out = boots(SP.format(level), {"service.bin": code(*LOAD, SPIN)})
    assert status == 3
    assert "service crashed: data abort at 0x12300000000: vCPU service.0 at EL0, PC 0x" in out
    assert "ldr x0, [x1]" in out
    assert "FAR 0x12300000000, IPA 0x12300000000, PSTATE" in out


def test_a_vm_that_spins_is_wedged(boots):
    status, out = boots(VM.format(""), {"guest.bin": code(SPIN)})
    assert status == 4
    assert "guest wedged: 1000000 instructions without a call; seen at 0x" in out


def test_an_sp_that_spins_in_its_initialisation_is_wedged(boots):
    status, out = boots(SP.format(""), {"service.bin": code(SPIN)})
    assert status == 4
    assert "service wedged: 1000000 instructions without a call; seen at 0x" in out


def test_junk_ends(boots):
    junk = bytes(n * n % 251 for n in range(0x1_0000))
    status, _ = boots(VM.format(""), {"guest.bin": junk})
    assert status in {3, 4}


def test_an_elf_files_symbols_are_told(boots):
    body = code(SPIN + 2, RET, *LOAD, SPIN)  # begins with a branch to main
    symbols = {"_start": (0, 8), "main": (8, 12)}
    image = elf((0, 0, body, len(body)), kind=3, entry=0, symbols=symbols)
    _, out = boots(VM.format(""), {"guest.bin": image})
    assert " <main+0x4>, ESR 0x92000004" in out
    body = code(SPIN)
    image = elf((0, 0, body, len(body)), kind=3, entry=0, symbols={"spin": (0, 4)})
    _, out = boots(VM.format(""), {"guest.bin": image})
    assert "<spin> (32x)" in out
    assert "<spin> (b " in out


LINES = [0x68, 0x69, 0x0A]  # "hi\n"
SAYS = code(
    *(
        word
        for byte in LINES
        for word in (
            movz(1, 1),
            movz(2, byte),
            *call(fid.FFA_CONSOLE_LOG_64, conduit=SMC),
        )
    ),
    WFI,
    0x17FFFFFF,  # again
)
SPINS_AFTERWARDS = SAYS[:-8] + code(SPIN)


@pytest.mark.parametrize(
    ("image", "keys", "status", "end"),
    [
        (SAYS, "", 0, "nothing can run any more"),
        (SAYS, 'expect = ["hi"]', 0, "all that was expected has been printed"),
        (SPINS_AFTERWARDS, 'expect = "hi"', 0, "all that was expected has been printed"),
        (SAYS, 'expect = ["hi", "ho"]', 1, "nothing can run any more; never printed: 'ho'"),
        (SAYS, 'fail_on = ["h"]', 1, "guest has printed 'h', which fails the run"),
        (SAYS, 'fail_on = ["H"]', 0, "nothing can run any more"),
        (SPINS_AFTERWARDS, 'expect = ["ho"]', 4, ""),
        (SPINS_AFTERWARDS, "time_limit = '100 us'", 5, "the time limit of 0.0001 s of virtual"),
        (SAYS, "time_limit = 1", 0, "nothing can run any more"),
        (SAYS, 'stop_on = "hi"\nexpect = ["ho"]', 1, "guest has printed 'hi'; never printed: 'ho'"),
        (SAYS, 'stop_on = "hi"\nexpect = ["hi"]', 0, "guest has printed 'hi'"),
        (SAYS, "max_events = 2", 5, "2 exits used up"),
    ],
)
def test_each_end_has_its_exit_status(boots, image, keys, status, end):
    got, out = boots(VM.format(keys), {"guest.bin": image})
    assert got == status, out
    assert f"the run ended: {end}" in out if end else "guest wedged" in out


def test_a_run_is_ended_by_the_wall_clock(boots):
    keys = "wedged_after = 0"
    status, out = boots(
        VM.replace("wedged_after = 1_000_000", "").format(keys), {"guest.bin": code(SPIN)},
        timeout=0.05,
    )  # fmt: skip
    assert status == 5
    assert "the run ended: the timeout of 0.05 s is reached" in out


def test_who_waits_for_an_answer_that_never_comes_hangs(boots):
    body = """
    [[sp]]
    name = "service"
    image = "service.bin"
    id = 0x8001
    [[vm]]
    name = "guest"
    image = "guest.bin"
    id = 1
    """
    asks = code(
        *(movz(1, 1, 16), 0xF2900021),  # from 1 to 0x8001
        *call(fid.FFA_MSG_SEND_DIRECT_REQ_64, conduit=SMC),
        *(WFI, 0x17FFFFFF),
    )
    sleeps = code(*call(fid.FFA_MSG_WAIT, conduit=SMC), WFI, 0x17FFFFFF)
    status, out = boots(body, {"guest.bin": asks, "service.bin": sleeps})
    assert status == 6, out
    assert "waiting for service.0" in out


def test_what_is_no_image_for_us_is_a_line(boots):
    image = elf((0, 0, code(SPIN), 4), kind=3, entry=0, interpreter=b"/lib/ld-linux-aarch64.so.1\0")
    with pytest.raises(Exception, match="PT_INTERP"):
        boots(VM.format(""), {"guest.bin": image})
