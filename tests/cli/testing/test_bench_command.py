"""ffabric bench: what its options exclude."""

import pytest


@pytest.mark.parametrize("option", ["--hafnium", "--tfa"])
def test_a_build_that_is_not_there_is_a_line(ffabric_command, option):
    assert ffabric_command("bench", option, "/none") == (
        2,
        "",
        "ffabric: /none: No such file or directory\n",
    )


def test_what_is_no_flash_is_a_line(ffabric_command, tmp_path):
    flash = tmp_path / "qemu_fw.bios"
    flash.write_bytes(bytes(8192))
    status, _, error = ffabric_command("bench", "--tfa", flash)
    assert status == 2
    assert error == "ffabric: flash (byte 0x0): 0x2000: no firmware image package in it\n"


@pytest.mark.parametrize(
    "more", [["--only", "null"], ["--against", "."], ["--explain"], ["--tfa", "flash"]]
)
def test_hafnium_is_compared_with_alone(ffabric_command, more):
    status, _, error = ffabric_command("bench", "--hafnium", "image", *more)
    assert status == 2
    assert "--hafnium excludes" in error or "--against excludes" in error
