"""A firmware image package as the description of a system: what is in it, and for whom.

The SPMC manifest is TOS_FW_CONFIG, a secure partition each package under a UUID of its own. Names
and places of these are in TB_FW_CONFIG (its node `secure-partitions`) or in the SPMC manifest.
BL33 is the normal world's kernel, BL32 the trusted OS of a system that has one; if the package has
an SPMC manifest, BL32 is the SPMC, whose part is played here by our own.
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import msgspec

from ffabric.abi.errors import DecodeError
from ffabric.system.files.dtb import Node, parse_dtb
from ffabric.system.files.fip import BL32, BL33, BOOT_CONFIG, SPMC_MANIFEST, Fip, parse_fip
from ffabric.system.files.package import MAGIC, TRANSFER_LIST, parse_package
from ffabric.system.files.reading import IMAGE, read_file
from ffabric.system.manifest.binding import find_manifest
from ffabric.system.manifest.spmc import SpmcManifest, find_spmc_manifest
from ffabric.system.options.problems import ConfigErrors, Problems


class FipPartition(msgspec.Struct, frozen=True):
    """A secure partition's package: its name, if any, and where the boot loader puts it."""

    uuid: UUID
    name: str
    package: bytes
    load_address: int | None = None


class FipContents(msgspec.Struct, frozen=True):
    """What a system takes from a package; an image that is not there is None."""

    path: str
    spmc: SpmcManifest | None = None
    partitions: tuple[FipPartition, ...] = ()
    bl32: bytes | None = None
    bl33: bytes | None = None
    has_spmc: bool = False
    read: bool = True
    """False: there is no package, which has been noted."""


def read_fip(path: Path, problems: Problems, where: str = "", key: str = "fip") -> FipContents:
    """What is in the package; every mistake goes to `problems`."""
    data = read_file(path, where, key, problems, IMAGE)
    if data is None:
        return FipContents(str(path), read=False)
    try:
        fip = parse_fip(data)
    except DecodeError as error:
        problems.add(where, key, f"{path}: {error}")
        return FipContents(str(path), read=False)
    inside = Problems(str(path))
    contents = contents_of(fip, str(path), inside)
    problems.extend(inside.found)
    return contents


def contents_of(fip: Fip, path: str, problems: Problems) -> FipContents:
    """What of a package a system takes; what is wrong with it goes to `problems`."""
    manifest = fip.find(SPMC_MANIFEST)
    spmc = None if manifest is None else _spmc(manifest, problems)
    names = _names(fip.find(BOOT_CONFIG), problems)
    at = {} if spmc is None else {each.load_address: each.debug_name for each in spmc.partitions}
    partitions = []
    for entry in fip.entries:
        if int.from_bytes(entry.data[:4], "little") not in (MAGIC, TRANSFER_LIST):
            continue
        name, load = names.get(entry.uuid, ("", None))
        named = name or _named(entry.data, at) or f"sp-{str(entry.uuid)[:8]}"
        partitions.append(FipPartition(entry.uuid, named, entry.data, load))
    listed = {each.uuid for each in partitions}
    for uuid, (name, _) in names.items():
        if uuid not in listed:
            problems.warn(BOOT_CONFIG, "secure-partitions", f"{name}: no package {uuid} is there")
    return FipContents(
        path,
        spmc,
        tuple(partitions),
        fip.find(BL32),
        fip.find(BL33),
        has_spmc=manifest is not None,
    )


def check_fip(fip: Fip, problems: Problems) -> None:
    """Look at all that is read of a package: its manifests and packages."""
    for each in contents_of(fip, "", problems).partitions:
        try:
            root = parse_dtb(parse_package(each.package).manifest).root
            inside = Problems("")
            find_manifest(root, inside)
            for problem in inside.found:
                report = problems.warn if problem.warning else problems.add
                report(f"{each.name}: {problem.where}", problem.key, problem.message)
        except DecodeError as error:
            problems.add(each.name, "", str(error))
        except ConfigErrors as error:
            for problem in error.problems:
                problems.add(f"{each.name}: {problem.where}", problem.key, problem.message)


def _spmc(data: bytes, problems: Problems) -> SpmcManifest | None:
    try:
        return find_spmc_manifest(parse_dtb(data).root, problems)
    except DecodeError as error:
        problems.add(SPMC_MANIFEST, "", str(error))
    except ConfigErrors as error:
        problems.extend(error.problems)
    return None


def _names(data: bytes | None, problems: Problems) -> dict[UUID, tuple[str, int | None]]:
    """What TB_FW_CONFIG says of secure partitions: UUID -> name and load address."""
    if data is None:
        return {}
    try:
        root = parse_dtb(data).root
    except DecodeError as error:
        problems.add(BOOT_CONFIG, "", str(error))
        return {}
    listed = root.child("secure-partitions")
    found: dict[UUID, tuple[str, int | None]] = {}
    for node in listed.children if listed else ():
        text = node.props.get("uuid", b"").rstrip(b"\0").decode("ascii", "replace")
        try:
            found[UUID(text)] = (node.name.partition("@")[0], _load(node))
        except ValueError:
            problems.add(BOOT_CONFIG, f"secure-partitions/{node.name}", f"{text!r} is not a UUID")
    return found


def _load(node: Node) -> int | None:
    cells = node.props.get("load-address")
    return None if cells is None or len(cells) not in (4, 8) else int.from_bytes(cells, "big")


def _named(package: bytes, at: dict[int | None, str]) -> str:
    """What the SPMC manifest calls the partition that is loaded where this one wants to be."""
    try:
        root = parse_dtb(parse_package(package).manifest).root
    except DecodeError:
        return ""
    address = _load(root)
    return "" if address is None else at.get(address, "")
