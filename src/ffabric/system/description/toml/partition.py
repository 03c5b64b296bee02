"""One [[sp]] or [[vm]] table -> a `PartitionDraft`: its files read, its manifest put together.

A manifest's fields come, each over the one before, from what a partition of its kind has by
default, from the Python class, from the manifest file or the package, from the table `properties`,
and from the table's own keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from ffabric.abi.errors import DecodeError
from ffabric.abi.words import PAGE
from ffabric.system.description.python_target import (
    TargetError,
    find_target,
    resolve_program,
    target_fields,
)
from ffabric.system.description.toml.keys import PARTITION_KEYS
from ffabric.system.files.images import IMAGE_OFFSET, MANIFEST_OFFSET, Image, ImagePart, parse_image
from ffabric.system.files.reading import BLOB, IMAGE, read_file
from ffabric.system.layout.defaults import default_fields
from ffabric.system.manifest.binding import manifest_fields
from ffabric.system.manifest.checks import check_manifest
from ffabric.system.manifest.manifest import Manifest
from ffabric.system.options.keys import NodeReader, TableReader, read
from ffabric.system.options.problems import ConfigErrors, Problems
from ffabric.system.spec import (
    OPTEE,
    QEMU,
    SP,
    VM,
    Hobs,
    ImageSource,
    KernelBoot,
    PartitionDraft,
    PythonSource,
    Source,
)

if TYPE_CHECKING:
    from ffabric.system.files.dtb import Node

SOURCES = ("python", "image", "package")
_OVERRIDES = ("uuids", "execution_ctx_count", "mem_size", "load_address")


class Extra(msgspec.Struct, frozen=True, kw_only=True):
    """What an sp_layout.json or the SPMC manifest adds to a partition's table."""

    manifest_offset: int = MANIFEST_OFFSET
    size: int | None = None
    load_address: int | None = None
    transfer_list: bool = False
    """The package is a transfer list, with the hand-off blocks before the image."""
    contents: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    """What the files that keys name hold, if they are parts of another file."""


class _Found(msgspec.Struct):
    """What a partition's files say: how it runs, and its manifest so far.

    What could not be had has been noted, and the rest is judged nevertheless. Without a `source`
    there is no partition; one that lacks its image (`has_image`) has an empty one, so that it is
    judged beside the others. What properties say together is judged if the manifest is `whole`.
    """

    source: Source | None
    fields: dict[str, Any]
    tree: Node | None = None
    manifest_offset: int | None = None
    has_manifest: bool = False
    hobs: Hobs = Hobs()
    whole: bool = True
    has_image: bool = True


def _nothing_at(offset: int) -> Image:
    return Image((ImagePart(offset, b"", 0),), offset)


class PartitionTable:
    """Reads one table; every mistake goes to `problems`."""

    def __init__(
        self,
        kind: str,
        table: dict[str, Any],
        where: str,
        *,
        folder: Path,
        include: Sequence[Path],
        problems: Problems,
    ) -> None:
        self.kind, self.where, self.folder, self.include = kind, where, folder, include
        self.problems = problems
        keys = PARTITION_KEYS[kind]
        reader = TableReader(table, where)
        self.values = read(reader, keys, problems, also=("properties", "options"))
        self.unread = table.keys() & set(SOURCES) - self.values.keys()
        """What would be there instead, were it right."""
        self.contents: Mapping[str, bytes] = {}
        self.options = self._table(table, "options")
        self.properties = self._table(table, "properties")

    def draft(self, extra: Extra) -> PartitionDraft | None:
        """The partition, or None if so much is wrong that there is none."""
        self.contents = extra.contents
        found = self._source(extra)
        overrides = self._overrides()
        if found.fields.get("load_address") is None and extra.load_address is not None:
            found.fields["load_address"] = extra.load_address
        defaults = {} if found.has_manifest else default_fields(self.kind)
        fields = {**defaults, **found.fields, **overrides}
        if "uuids" in overrides and "service_methods" not in overrides:
            fields["service_methods"] = ()
        try:
            manifest = Manifest(**fields)
        except TypeError as error:
            self._wrong("python", f"manifest: {error}")
            return None
        if found.whole:
            check_manifest(manifest, self.problems, self.where)
        draft = self._drafted(found, manifest, extra)
        name = self.values.get("name")
        source = found.source
        if source is not None and found.has_image:
            source = self._entered(source, manifest)
        if source is None or not isinstance(name, str):
            return None
        return replace(draft, name=name, source=source)

    def _drafted(self, found: _Found, manifest: Manifest, extra: Extra) -> PartitionDraft:
        """The partition but for its name and source: every other key is judged here."""
        return PartitionDraft(
            name="",
            kind=self.kind,
            manifest=manifest,
            source=PythonSource(),
            where=self.where,
            id=self._number("id"),
            engine=self._text("engine"),
            el=self._number("el"),
            physical_address=self._number("physical_address"),
            size=extra.size,
            tree=found.tree,
            manifest_offset=found.manifest_offset,
            hobs=found.hobs,
            kernel=self._kernel(),
            registers={n: value for n in range(4) if (value := self._number(f"x{n}")) is not None},
            notification_interrupt=self._number("notification_interrupt"),
            rpmb=self._number("rpmb"),
            protocol=self._text("protocol") or OPTEE,
            fw_config=self._fw_config(),
            packages=self._packages(),
            secure_state=self.values.get("secure") is True,
            new_image=self._new_image(found, manifest),
        )

    # -- what the table says ---------------------------------------------------------------------

    def _table(self, table: dict[str, Any], key: str) -> dict[str, Any]:
        below = table.get(key, {})
        if isinstance(below, dict):
            return below
        self._wrong(key, "expected a table")
        return {}

    def _overrides(self) -> dict[str, Any]:
        reader = TableReader(self.properties, f"{self.where}.properties")
        fields = manifest_fields(reader, self.problems, complete=False)
        return fields | {key: self.values[key] for key in _OVERRIDES if key in self.values}

    def _wrong(self, key: str, message: str) -> None:
        self.problems.add(self.where, key, message)

    def _number(self, key: str) -> int | None:
        value = self.values.get(key)
        return value if isinstance(value, int) else None

    def _text(self, key: str) -> str | None:
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def _bytes(self, key: str) -> bytes | None:
        if key in self.contents:
            return self.contents[key]
        path = self.folder / str(self.values[key])
        return read_file(path, self.where, key, self.problems, IMAGE)

    def _fw_config(self) -> bytes:
        """The manifest of an SPMC that is an image."""
        if "fw_config" not in self.values:
            return b""
        path = self.folder / str(self.values["fw_config"])
        if read_file(path, self.where, "fw_config", self.problems, BLOB) is None:
            return b""
        from ffabric.system.files.dtb import build_dtb  # noqa: PLC0415 - few have one
        from ffabric.system.files.dts import read_tree  # noqa: PLC0415

        try:
            return build_dtb(read_tree(path, self.include).root)
        except ConfigErrors as error:
            self.problems.extend(error.problems)
            return b""

    def _packages(self) -> tuple[bytes, ...]:
        """The SP packages of an SPMC that is an image."""
        named = self.values.get("packages", ())
        paths = [self.folder / each for each in named] if isinstance(named, tuple | list) else []
        read = (read_file(each, self.where, "packages", self.problems, IMAGE) for each in paths)
        return tuple(each for each in read if each is not None)

    def _kernel(self) -> KernelBoot | None:
        """What goes with a kernel."""
        if self.kind != VM:
            return None
        given = [key for key in ("initrd", "bootargs") if key in self.values]
        if "image" not in self.values:
            for key in given:
                self._wrong(key, "only with an image")
            return None
        if not given and self._text("engine") != QEMU:
            return None
        initrd = self._bytes("initrd") if "initrd" in self.values else None
        if initrd == b"":
            self._wrong("initrd", f"{self.values['initrd']}: the file is empty")
        return KernelBoot(initrd or b"", self._text("bootargs") or "")

    def _new_image(self, found: _Found, manifest: Manifest) -> ImageSource | None:
        """The image that can take the place of the partition's own."""
        if "new_image" not in self.values:
            return None
        data, old = self._bytes("new_image"), found.source
        if not isinstance(old, ImageSource) or not found.has_image:
            if found.has_image and old is not None:
                self._wrong("new_image", "only with an image, or a package")
            return None
        if found.whole and not manifest.live_activation_support:
            self._wrong("new_image", "the manifest has no live-activation-support")
            return None
        offset = min(part.offset for part in old.image.parts)
        image = None if data is None else self._parsed(data, "new_image", offset)
        if image is None:
            return None
        entered = self._entered(ImageSource(str(self.values["new_image"]), image), manifest)
        assert isinstance(entered, ImageSource)
        return entered

    # -- what the files say ----------------------------------------------------------------------

    def _source(self, extra: Extra) -> _Found:
        given = [key for key in SOURCES if key in self.values]
        if len(given) != 1 and not self.unread:
            known = SOURCES if self.kind == SP else SOURCES[:2]
            need = f"needs one of {', '.join(known)}"
            self._wrong("", f"{need}, not {' and '.join(given)}" if given else need)
        if not given:
            return self._with_manifest(_Found(None, {}))
        readers = {"python": self._python, "image": self._image, "package": self._package}
        return readers[given[0]](extra)

    def _python(self, _: Extra) -> _Found:
        source = PythonSource(self.values["python"], self.folder, self.options)
        found = _Found(source, {})
        try:
            found.fields = target_fields(find_target(source))
            resolve_program(source)
        except TargetError as error:
            self._wrong("python", str(error))
            found.whole = False
        return self._with_manifest(found)

    def _image(self, extra: Extra) -> _Found:
        found = self._with_manifest(_Found(None, {}))
        data = self._bytes("image")
        offset = self._number("image_offset")
        if extra.transfer_list:
            from ffabric.system.files import package  # noqa: PLC0415 - few are packages

            with_hobs = "hob_list" in found.fields.get("boot_info", ())
            found.hobs = Hobs(package.HOB_OFFSET if with_hobs else None)
            offset = offset or package.transfer_list_image(hob_list=with_hobs)
        if offset is None:
            entry = found.fields.get("entrypoint_offset") or 0
            floor = IMAGE_OFFSET if self.kind == SP and not found.has_manifest else 0
            offset = max(entry // PAGE * PAGE, floor)
        image = None if data is None else self._parsed(data, "image", offset)
        found.has_image = image is not None
        found.source = ImageSource(str(self.values["image"]), image or _nothing_at(offset))
        found.manifest_offset = extra.manifest_offset
        return found

    def _package(self, _: Extra) -> _Found:
        nothing = _Found(None, {}, whole=False)
        data = self._bytes("package")
        if data is None:
            return nothing
        from ffabric.system.files.dtb import parse_dtb  # noqa: PLC0415 - few are packages
        from ffabric.system.files.package import parse_package  # noqa: PLC0415

        path = str(self.folder / str(self.values["package"]))
        try:
            package = parse_package(data)
            tree = parse_dtb(package.manifest)
        except DecodeError as error:
            self._wrong("package", f"{path}: {error}")
            return nothing
        image = self._parsed(package.image, "package", package.image_offset)
        source = None if image is None else ImageSource(path, image)
        fields = self._fields(tree.root, path)
        found = _Found(source, fields, tree.root, package.manifest_offset, has_manifest=True)
        if package.hob_list:
            found.hobs = Hobs(package.hob_offset, package.hob_list)
        return found

    def _with_manifest(self, found: _Found) -> _Found:
        """What the manifest file says, if there is one."""
        if "manifest" not in self.values:
            return found
        path = self.folder / str(self.values["manifest"])
        if read_file(path, self.where, "manifest", self.problems, BLOB) is None:
            found.whole = False
            return found
        from ffabric.system.files.dts import read_tree  # noqa: PLC0415 - few have a file

        try:
            root = read_tree(path, self.include).root
        except ConfigErrors as error:
            self.problems.extend(error.problems)
            found.whole = False
            return found
        found.fields |= self._fields(root, str(path))
        found.tree, found.has_manifest, found.whole = root, True, True
        return found

    def _fields(self, root: Node, file: str) -> dict[str, Any]:
        problems = Problems(file)
        fields = manifest_fields(NodeReader(root), problems)
        self.problems.extend(problems.found)
        return fields

    def _parsed(self, data: bytes, key: str, offset: int) -> Image | None:
        try:
            return parse_image(data).moved(offset)
        except DecodeError as error:
            self._wrong(key, f"{self.values[key]}: {error}")
            return None

    def _entered(self, source: Source, manifest: Manifest) -> Source:
        """A raw image is entered where its manifest says."""
        if not isinstance(source, ImageSource):
            return source
        try:
            return ImageSource(source.path, source.image.entered(manifest.entrypoint_offset))
        except DecodeError as error:
            self._wrong("entrypoint-offset", f"{manifest.entrypoint_offset:#x}: {error.reason}")
            return source
