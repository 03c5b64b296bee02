"""sp_layout.json: TF-A's list of the secure partitions to load.

Source: TF-A documentation, "Secure Partition Manager", "Describing secure partitions", and
tools/sptool. Paths are relative to the file.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from ffabric.abi.words import PAGE
from ffabric.system.files.images import IMAGE_OFFSET, MANIFEST_OFFSET
from ffabric.system.files.reading import DESCRIPTION, IMAGE, read_bytes, read_file
from ffabric.system.options.keys import Key, Table, TableReader, read
from ffabric.system.options.kinds import FLAG, PATH, SIZE, TEXT, U64, UUID_TEXT
from ffabric.system.options.problems import LayoutErrors, Problem, Problems, at_most

TRANSFER_LIST = "tl_pkg"
MOST = 1024
"""Partitions of a layout."""

PARTITION: tuple[Key, ...] = (
    Key("image", PATH, "The image: a path, or an object of file and offset.", required=True),
    Key("pm", PATH, "The manifest: a path, or an object of file and offset.", required=True),
    Key("uuid", UUID_TEXT, "The package's UUID in the firmware image package."),
    Key("owner", TEXT, "Who signs it.", default="SiP", values=("SiP", "Plat")),
    Key(
        "package", TEXT, "The form of the package.",
        default="sp_pkg", values=("sp_pkg", TRANSFER_LIST),
    ),
    Key("size", SIZE, "The memory it gets, in bytes."),
    Key("physical-load-address", U64, "Where it is loaded.", field="load_address", align=PAGE),
    Key("boot-info", FLAG, "Leave room for the boot information blob."),
)  # fmt: skip
"""Each member of the file's object."""

PLACED_FILE: tuple[Key, ...] = (
    Key("file", PATH, "The file's path.", required=True),
    Key("offset", U64, "Where in the package it is.", align=PAGE),
)
"""An image or a manifest given as an object."""

TABLES: tuple[Table, ...] = (
    Table("NAME", "TF-A documentation", PARTITION),
    Table("NAME.image, NAME.pm", "TF-A documentation", PLACED_FILE),
)
"""The format, for the reference documentation."""


class LayoutEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One secure partition of the file; paths are resolved, offsets are those of its package.

    ``image_offset`` None: of a transfer list, in which the image is behind what the manifest asks
    for.
    """

    name: str
    image: Path
    manifest: Path
    image_offset: int | None = IMAGE_OFFSET
    manifest_offset: int = MANIFEST_OFFSET
    uuid: UUID | None = None
    owner: str = "SiP"
    package: str = "sp_pkg"
    size: int | None = None
    load_address: int | None = None

    @property
    def is_transfer_list(self) -> bool:
        """Whether its package is a transfer list."""
        return self.package == TRANSFER_LIST


def read_layout(path: Path) -> tuple[LayoutEntry, ...]:
    """The partitions of an sp_layout.json, in its order.

    Raises LayoutErrors with everything that is wrong: JSON, keys, values and missing files.
    """
    import json  # noqa: PLC0415 - systems without a layout do not need it

    problems = Problems(str(path))
    members: object = {}
    try:
        data = read_bytes(path, DESCRIPTION)
        members = json.loads(data, object_pairs_hook=partial(_object, problems))
    except OSError as error:
        problems.add("", "", error.strerror or str(error))
    except RecursionError:
        problems.add("", "", "nested too deep")
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}"
        raise LayoutErrors([Problem(where, "", "", f"column {error.colno}: {error.msg}")]) from None
    except UnicodeDecodeError as error:
        problems.add("", "", f"byte {error.start:#x} is not UTF-8")
    except ValueError as error:
        problems.add("", "", str(error))
    if not isinstance(members, dict):
        problems.add("", "", "expected an object with a member for each partition")
        members = {}
    listed = at_most(MOST, [*members.items()], "", problems)
    entries = [_entry(path.parent, name, member, problems) for name, member in listed]
    problems.check(LayoutErrors)
    return tuple(entry for entry in entries if entry)


def _object(problems: Problems, pairs: list[tuple[str, object]]) -> dict[str, object]:
    counts = Counter(name for name, _ in pairs)
    for name in sorted(name for name, count in counts.items() if count > 1):
        problems.add(name, "", "given twice")
    return dict(pairs)


def _entry(folder: Path, name: str, member: object, problems: Problems) -> LayoutEntry | None:
    if not isinstance(member, dict):
        problems.add(name, "", "expected an object")
        return None
    table = dict(member)
    offsets: dict[str, Any] = {}
    for key, field in (("image", "image_offset"), ("pm", "manifest_offset")):
        if isinstance(table.get(key), dict):
            reader = TableReader(table[key], f"{name}.{key}")
            placed = read(reader, PLACED_FILE, problems)
            table[key] = placed.get("file", "")
            if "offset" in placed:
                offsets[field] = placed["offset"]
    fields: dict[str, Any] = read(TableReader(table, name), PARTITION, problems)
    fields.pop("boot_info", None)
    fields["manifest"] = fields.pop("pm", "")
    for key, field in (("image", "image"), ("pm", "manifest")):
        if fields.get(field):
            fields[field] = folder / fields[field]
            read_file(fields[field], name, key, problems, IMAGE)
    if not fields.get("image") or not fields["manifest"]:
        return None
    if fields.get("package") == TRANSFER_LIST:
        offsets.setdefault("image_offset", None)
    entry = LayoutEntry(name=name, **fields, **offsets)
    if entry.image_offset is not None and entry.manifest_offset >= entry.image_offset:
        problems.add(
            name,
            "pm",
            f"offset {entry.manifest_offset:#x} is not below the image's {entry.image_offset:#x}",
        )
    return entry
