"""A user's build of the suite: its images, the manifests they were built with, how it was built.

A folder may be what CMake builds in, its ``output``, the suite's source tree, or any folder that
holds the files themselves. CMake's cache says where the sources are and what was built.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ffabric.system.files.reading import DESCRIPTION, read_bytes
from ffabric.system.options.problems import Problem, Problems, SystemErrors

VM1 = "vm1"
SPS = ("sp1", "sp2", "sp3", "sp4")
SPMC = "spmc"
IMAGES = (VM1, *SPS)

_CACHE = "CMakeCache.txt"
_CACHE_LINE = re.compile(r"^([A-Za-z_]\w*):\w+=(.*)$", re.MULTILINE)
_BELOW = ("", "output", "build", "build/output")
_SUFFIXES = (".dts", ".dtb")
_SUPPORTED = {
    "TARGET": ("tgt_tfa_fvp",),
    "TARGET_LINUX": ("0",),
    "XEN_SUPPORT": ("0",),
    "PLATFORM_SPMC_EL": ("2",),
    "PLATFORM_SP_EL": ("1", "0"),
    "PLATFORM_NS_HYP_MULTI_VM": ("0",),
}
"""CMake's options -> the values that ffabric can run."""


class Build(msgspec.Struct, frozen=True):
    """Files by name: `images` those of `IMAGES`, `manifests` those of `SPS` and `SPMC`."""

    folder: Path
    images: dict[str, Path]
    manifests: dict[str, Path]
    hypervisor: bool


def find_build(
    folder: Path, *, hypervisor: bool | None = None, manifests: Path | None = None
) -> Build:
    """The build in ``folder``.

    ``hypervisor``: what it was built for; None: as CMake's cache says, and without one if there is
    no cache. ``manifests``: where manifests are looked for first. Raises SystemErrors with
    everything that is missing, and where it was looked for, or cannot be run.
    """
    if not folder.is_dir():
        raise SystemErrors([Problem(str(folder), "", "", "no such folder")])
    problems = Problems(str(folder))
    below = [folder / name for name in _BELOW]
    images = _find({name: (f"{name}.bin",) for name in IMAGES}, below, problems)
    where = images[VM1].parent if VM1 in images else folder
    cache = _cache((where, where.parent, folder))
    built_for = _judge(cache, hypervisor, problems)
    _, settings = cache
    folders = [] if manifests is None else [manifests]
    folders += [where, folder, *_manifest_folders(settings, where)]
    found = _find(_manifest_names(settings), folders, problems)
    problems.check(SystemErrors)
    return Build(folder, images, found, built_for)


def _find(
    wanted: dict[str, tuple[str, ...]], folders: Iterable[Path], problems: Problems
) -> dict[str, Path]:
    """The first file of each name's candidates that is in one of the folders."""
    places = list(dict.fromkeys(each.resolve() for each in folders if each.is_dir()))
    found = {}
    for name, candidates in wanted.items():
        paths = (place / each for place in places for each in candidates)
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            looked = ", ".join(map(str, places))
            problems.add("", " or ".join(candidates), f"not found; looked in {looked}")
        else:
            found[name] = path
    return found


def _cache(folders: Iterable[Path]) -> tuple[Path | None, dict[str, str]]:
    """CMake's cache of the build: where it is and what it says; nothing if there is none."""
    for folder in folders:
        path = folder / _CACHE
        if path.is_file():
            text = read_bytes(path, DESCRIPTION).decode(errors="replace")
            return path, dict(_CACHE_LINE.findall(text))
    return None, {}


def _judge(
    cache: tuple[Path | None, dict[str, str]], hypervisor: bool | None, problems: Problems
) -> bool:
    """Whether it was built for a hypervisor; a problem if it cannot be run, or not as asked."""
    path, settings = cache
    wrong = Problems(str(path))
    for key, supported in _SUPPORTED.items():
        value = settings.get(key, supported[0])
        if value not in supported:
            wrong.add("", key, f"{value}: ffabric runs builds with {' or '.join(supported)}")
    said = settings.get("PLATFORM_NS_HYPERVISOR_PRESENT")
    built_for = bool(hypervisor) if said is None else said == "1"
    if hypervisor is not None and hypervisor != built_for:
        option = "--hypervisor" if hypervisor else "--no-hypervisor"
        wrong.add("", "PLATFORM_NS_HYPERVISOR_PRESENT", f"{said}, which {option} contradicts")
    problems.extend(wrong.found)
    return built_for


def _manifest_names(settings: dict[str, str]) -> dict[str, tuple[str, ...]]:
    level = "_el0" if settings.get("PLATFORM_SP_EL") == "0" else ""
    names = {name: f"{name}{level}" for name in SPS}
    names[SPMC] = f"fvp_spmc_manifest{level}"
    return {name: tuple(f"{stem}{suffix}" for suffix in _SUFFIXES) for name, stem in names.items()}


def _manifest_folders(settings: dict[str, str], where: Path) -> Iterator[Path]:
    """Where the suite's source tree has them."""
    version = "v11" if settings.get("PLATFORM_FFA_V_1_1") == "1" else "v12"
    target = settings.get("TARGET", _SUPPORTED["TARGET"][0])
    trees = [Path(settings["CMAKE_HOME_DIRECTORY"])] if "CMAKE_HOME_DIRECTORY" in settings else []
    at = where.resolve()
    for tree in (*trees, at, *at.parents):
        folder = tree / "platform" / "manifest" / target
        if folder.is_dir():
            yield folder / version
            yield folder
