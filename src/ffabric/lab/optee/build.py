"""A user's own build of OP-TEE: what its output folder says of it, and whether an SPMC can host it.

OP-TEE's build writes all its settings to ``conf.mk`` in the output folder (``O=``, or
``out/arm-plat-...``), and the image to ``core/tee-pager_v2.bin`` below it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

from ffabric.abi.words import PAGE
from ffabric.system.files.images import IMAGE_OFFSET
from ffabric.system.files.reading import DESCRIPTION, IMAGE, read_bytes

CONFIGURATION = "conf.mk"
IMAGES = ("core/tee-pager_v2.bin", "tee-pager_v2.bin", "core/tee-raw.bin", "tee-raw.bin")
MOST_CORES = 8
"""PEs of a system."""

_SETTING = re.compile(r"^([A-Z_0-9a-z]+) *[:?]?= *(.*?) *$", re.MULTILINE)
_OTHER_BUILDS: Final = {
    "CFG_CORE_EL3_SPMC": "for an SPMC at EL3",
    "CFG_CORE_SEL1_SPMC": "to be the SPMC itself, at S-EL1",
}
_CONSOLES: Final = {
    ("vexpress", "qemu_virt"): 0x0904_0000,
    ("vexpress", "qemu_armv8a"): 0x0904_0000,
    ("vexpress", "fvp"): 0x1C0A_0000,
}
"""CONSOLE_UART_BASE in OP-TEE's core/arch/arm/plat-vexpress/platform_config.h, by flavour."""


class BuildError(Exception):
    """Why a build cannot be a secure partition here, in one line that names it."""


class Build(msgspec.Struct, frozen=True):
    """An image of OP-TEE that is a secure partition at S-EL1, and how it was built.

    `load_address` and `mem_size` are what its manifest has to say, `cores` how many vCPUs it has
    room for, `guests` how many VMs (0: it was not built with NS_VIRTUALIZATION). `console` is the
    address of its PL011; None: it prints with FFA_CONSOLE_LOG, or to a UART that is not known.
    """

    path: str
    image: bytes
    load_address: int
    mem_size: int
    cores: int
    threads: int
    guests: int
    console: int | None


def read_build(path: Path) -> Build:
    """The build in an output folder, or the one that an image file in such a folder is of.

    Raises BuildError if there is none, or if it is none for an SPMC at S-EL2; OSError for a file
    that cannot be read.
    """
    image, configuration = _files(path)
    settings = dict(_SETTING.findall(_text(configuration)))
    _check(path, settings)
    start = _number(path, settings, "CFG_TZDRAM_START")
    size = _number(path, settings, "CFG_TZDRAM_SIZE")
    if start % PAGE or start < IMAGE_OFFSET:
        raise BuildError(f"{path}: CFG_TZDRAM_START={start:#x} leaves no room for a manifest below")
    virtualized = settings.get("CFG_NS_VIRTUALIZATION") == "y"
    return Build(
        path=str(image),
        image=read_bytes(image, IMAGE),
        load_address=start - IMAGE_OFFSET,
        mem_size=size + IMAGE_OFFSET,
        cores=min(_number(path, settings, "CFG_TEE_CORE_NB_CORE"), MOST_CORES),
        threads=_number(path, settings, "CFG_NUM_THREADS"),
        guests=_number(path, settings, "CFG_VIRT_GUEST_COUNT") if virtualized else 0,
        console=_console(settings),
    )


def _files(path: Path) -> tuple[Path, Path]:
    """The image and the configuration of a build."""
    if not path.exists():
        raise BuildError(f"{path}: there is no such file or folder")
    folder = path if path.is_dir() else path.parent
    above = next(
        (each for each in (folder, folder.parent) if (each / CONFIGURATION).is_file()), None
    )
    if path.is_dir():
        image = next(
            (each / name for each in (path, above or path) for name in IMAGES
             if (each / name).is_file()), None,
        )  # fmt: skip
        if image is None:
            raise BuildError(f"{path}: there is no {IMAGES[0]} of OP-TEE in it")
    else:
        image = path
    if above is None:
        told = (
            f"there is no {CONFIGURATION} beside the image or above it, which says how it is built"
        )
        raise BuildError(f"{path}: {told}: name the output folder of OP-TEE's build")
    return image, above / CONFIGURATION


def _text(path: Path) -> str:
    return read_bytes(path, DESCRIPTION).decode(errors="replace")


def _check(path: Path, settings: dict[str, str]) -> None:
    """It is for AArch64 and an SPMC at S-EL2."""
    if settings.get("CFG_ARM64_core") != "y":
        raise BuildError(f"{path}: an OP-TEE of 32 bits: build it with CFG_ARM64_core=y")
    if settings.get("CFG_CORE_SEL2_SPMC") == "y":
        return
    others = (what for name, what in _OTHER_BUILDS.items() if settings.get(name) == "y")
    what = next(others, "for a monitor with OP-TEE's SMC ABI, without FF-A")
    raise BuildError(f"{path}: an OP-TEE {what}: build it with CFG_CORE_SEL2_SPMC=y")


def _number(path: Path, settings: dict[str, str], name: str) -> int:
    value = settings.get(name, "")
    try:
        return int(value, 0)
    except ValueError:
        raise BuildError(f"{path}: {CONFIGURATION} has no number for {name}: {value!r}") from None


def _console(settings: dict[str, str]) -> int | None:
    if settings.get("CFG_FFA_CONSOLE") == "y":
        return None
    return _CONSOLES.get((settings.get("PLATFORM", ""), settings.get("PLATFORM_FLAVOR", "")))
