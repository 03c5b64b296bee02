"""A user's build of the suite: its images, the manifests they were built with, how it was built.

A folder may be what CMake builds in, its ``output``, the suite's source tree, or any folder that
holds the files themselves. CMake's cache says where the sources are and what was built.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
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
_NEWEST, _OLDER = "1.2", "1.1"
_OLDER_BY_NAME = ("FFA_V_1_1", "11")
_PER_VCPU = re.compile(r"^#define\s+PLATFORM_PER_VCPU_NOTIFICATION_SUPPORT\s+1\b", re.MULTILINE)
_UNVERIFIED = "List of unverified tests"
SPMC_LEVELS = {"2": "s-el2", "1": "s-el1", "3": "el3"}
"""PLATFORM_SPMC_EL -> where our SPMC runs then."""
_SUPPORTED = {
    "TARGET": ("tgt_tfa_fvp",),
    "TARGET_LINUX": ("0",),
    "XEN_SUPPORT": ("0",),
    "PLATFORM_SPMC_EL": ("2", "1", "3"),
    "PLATFORM_SP_EL": ("1", "0"),
    "PLATFORM_NS_HYP_MULTI_VM": ("0",),
}
"""CMake's options -> the values that ffabric can run."""


class Build(msgspec.Struct, frozen=True):
    """Files by name: `images` those of `IMAGES`, `manifests` those of SPs and of `SPMC`.

    `options` are what CMake was told, by name; nothing if there is no cache of CMake's.
    `unverified` are the tests of which the suite itself says that nobody has seen them pass.
    """

    folder: Path
    images: dict[str, Path]
    manifests: dict[str, Path]
    hypervisor: bool
    options: dict[str, str] = {}
    per_vcpu: bool = False
    """Whether the platform's header says that there are per-vCPU notifications."""
    unverified: frozenset[str] = frozenset()

    @property
    def sps(self) -> list[str]:
        """The secure partitions that are booted: an SPMC at EL3 has one at S-EL1."""
        return [name for name in SPS if name in self.manifests]

    @property
    def spmc_level(self) -> str:
        """Where the SPMC runs."""
        return SPMC_LEVELS[self.options.get("PLATFORM_SPMC_EL", "2")]

    @property
    def configuration(self) -> str:
        """What it is a build for, in words."""
        said = ["VM1 under a hypervisor" if self.hypervisor else "VM1 as the kernel at EL2"]
        if self.spmc_level != SPMC_LEVELS["2"]:
            said.append(f"SPMC at {self.spmc_level.upper()}")
        if self.options.get("PLATFORM_SP_EL") == "0":
            said.append("SPs at S-EL0")
        if self.options.get("PLATFORM_FFA_V_MULTI") == "1":
            versions = {name: _version(self.options, name) for name in IMAGES}
            old = [name for name, version in versions.items() if version == _OLDER]
            said.append(f"FF-A {_NEWEST} with {_OLDER} in {', '.join(old)}")
        elif self.options.get("PLATFORM_FFA_V_1_1") == "1":
            said.append(f"FF-A {_OLDER}")
        if self.per_vcpu:
            said.append("per-vCPU notifications")
        return ", ".join(said)


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
    folders += [where, folder]
    trees = list(_source_trees(settings, where))
    target = settings.get("TARGET", _SUPPORTED["TARGET"][0])
    found: dict[str, Path] = {}
    for name, candidates in _manifest_names(settings).items():
        version = _version(settings, name).replace(".", "")
        places = [each / "platform" / "manifest" / target for each in trees]
        version = f"v{version}{'/spmc_el3' if _one_kernel(settings) else ''}"
        theirs = [place for each in places for place in (each / version, each)]
        found |= _find({name: candidates}, [*folders, *theirs], problems)
    problems.check(SystemErrors)
    header = f"platform/pal_baremetal/{target}/inc/pal_config_def.h"
    return Build(
        folder,
        images,
        found,
        built_for,
        settings,
        bool(_PER_VCPU.search(_text(trees, header))),
        _listed(_text(trees, "docs/testcase_unverified.md")),
    )


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
    names = {name: f"{name}{level}" for name in (SPS[:1] if _one_kernel(settings) else SPS)}
    names[SPMC] = f"fvp_spmc_manifest{level}"
    return {name: tuple(f"{stem}{suffix}" for suffix in _SUFFIXES) for name, stem in names.items()}


def _one_kernel(settings: dict[str, str]) -> bool:
    """Whether it is for an SPMC at EL3, with one SP at S-EL1."""
    return settings.get("PLATFORM_SPMC_EL") == "3" and settings.get("PLATFORM_SP_EL", "1") == "1"


def _version(settings: dict[str, str], name: str) -> str:
    """The version of FF-A that an image was built for."""
    if settings.get("PLATFORM_FFA_V_MULTI") == "1":
        value = settings.get(f"{name.upper()}_FFA_V")
        return _OLDER if value in _OLDER_BY_NAME else _NEWEST
    return _OLDER if settings.get("PLATFORM_FFA_V_1_1") == "1" else _NEWEST


def _source_trees(settings: dict[str, str], where: Path) -> Iterator[Path]:
    """Folders that may be the suite's source tree, the likeliest first."""
    if "CMAKE_HOME_DIRECTORY" in settings:
        yield Path(settings["CMAKE_HOME_DIRECTORY"])
    at = where.resolve()
    yield from (at, *at.parents)


def _text(trees: Iterable[Path], name: str) -> str:
    """The first file of that name; nothing if there is none, or if it cannot be read."""
    for path in (tree / name for tree in trees):
        if path.is_file():
            with suppress(OSError):
                return read_bytes(path, DESCRIPTION).decode(errors="replace")
    return ""


def _listed(document: str) -> frozenset[str]:
    """The tests that the suite's document lists under a heading."""
    _, _, below = document.partition(_UNVERIFIED)
    return frozenset(re.findall(r"^- (\w+)$", below.partition("\n#")[0], re.MULTILINE))
