"""The binaries in the repository are what their sources assemble to."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    source
    for folder in (
        "tests/images",
        "src/ffabric/guests/images",
        "src/ffabric/machine/engines/qemu",
        "src/ffabric/lab/linux",
        "src/ffabric/lab/peers",
    )
    for source in (ROOT / folder).glob("*.S")
)
PREFIX = "aarch64-linux-gnu-"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_the_binary_is_what_its_source_says(source, tmp_path):
    if shutil.which(f"{PREFIX}as") is None:
        pytest.fail("no AArch64 assembler: apt-get install binutils-aarch64-linux-gnu")
    built, binary = tmp_path / "image.o", tmp_path / "image.bin"
    subprocess.run([f"{PREFIX}as", "-I", source.parent, "-o", built, source], check=True)
    subprocess.run([f"{PREFIX}objcopy", "-O", "binary", "-j", ".text", built, binary], check=True)
    assert binary.read_bytes() == source.with_suffix(".bin").read_bytes()


def test_every_source_has_its_binary():
    assert SOURCES
    assert all(source.with_suffix(".bin").exists() for source in SOURCES)
