"""Validating one file of any sort, for `ffabric manifest FILE`.

What a file is, is told from its contents where that can be: the compatible property of a
devicetree, the first bytes of a package; else from its suffix.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ffabric.abi.errors import DecodeError
from ffabric.system.description.fip import check_fip
from ffabric.system.description.sp_layout import LayoutEntry, read_layout
from ffabric.system.description.toml.system import read_system
from ffabric.system.files.dtb import MAGIC as DTB_MAGIC
from ffabric.system.files.dtb import Node, parse_dtb
from ffabric.system.files.dts import SOURCES, read_tree
from ffabric.system.files.fip import Fip, is_fip, parse_fip
from ffabric.system.files.package import MAGIC, TRANSFER_LIST, parse_package
from ffabric.system.files.reading import IMAGE, read_file
from ffabric.system.manifest.binding import find_manifest
from ffabric.system.manifest.manifest import Manifest
from ffabric.system.manifest.spmc import COMPATIBLE, SpmcManifest, find_spmc_manifest
from ffabric.system.options.problems import ConfigErrors, Problem, Problems
from ffabric.system.spec import SystemSpec

Found = Fip | Manifest | SpmcManifest | tuple[LayoutEntry, ...] | SystemSpec | None


class Report(msgspec.Struct, frozen=True):
    """What a file is, what it says (None if that cannot be said), and its problems."""

    kind: str
    value: Found
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether there are no problems but warnings."""
        return all(problem.warning for problem in self.problems)


def check_file(path: Path | str, include: Sequence[Path] = ()) -> Report:
    """Look at a manifest (.dts, .dtb), a package, a FIP, a layout (.json) or a system (.toml).

    Never raises for what is in the file; every mistake is in the report.
    """
    path = Path(path)
    problems = Problems(str(path))
    data = read_file(path, "", "", problems, IMAGE)
    if data is None:
        return Report("file", None, tuple(problems.found))
    try:
        kind, value = _look(path, data, include, problems)
    except ConfigErrors as error:
        return Report("file", None, (*problems.found, *error.problems))
    except DecodeError as error:
        problems.add("", "", str(error))
        return Report("file", None, tuple(problems.found))
    return Report(kind, value if not problems.errors else None, tuple(problems.found))


def _look(
    path: Path, data: bytes, include: Sequence[Path], problems: Problems
) -> tuple[str, Found]:
    if path.suffix == ".toml":
        system = read_system(path)
        problems.extend(system.warnings)
        return "system", system
    if path.suffix == ".json":
        return "partition layout", read_layout(path)
    if is_fip(data):
        fip = parse_fip(data)
        check_fip(fip, problems)
        return "firmware image package", fip
    if int.from_bytes(data[:4], "little") in (MAGIC, TRANSFER_LIST):
        package = parse_package(data)
        return "partition package", find_manifest(parse_dtb(package.manifest).root, problems)
    if path.suffix in SOURCES or int.from_bytes(data[:4], "big") == DTB_MAGIC:
        return _manifest(read_tree(path, include).root, problems)
    problems.add("", "", "no devicetree, package, FIP, layout (.json) or system (.toml)")
    return "file", None


def _manifest(root: Node, problems: Problems) -> tuple[str, Found]:
    compatible = root.props.get("compatible", b"").split(b"\0")
    if COMPATIBLE.encode() in compatible or root.child("attribute"):
        return "SPMC manifest", find_spmc_manifest(root, problems)
    return "partition manifest", find_manifest(root, problems)


check_file.__module__ = "ffabric.testing"
