"""The TOML file of `ffabric run SYSTEM` -> a `SystemSpec`.

Paths are relative to the file. Every mistake in it, in the files that it names and in what they
make together is reported at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffabric.abi.words import PAGE
from ffabric.system.description.assemble import assemble
from ffabric.system.description.toml.keys import (
    DEVICE,
    DEVICE_TYPES,
    GIC,
    MEMORY,
    RUN,
    SPMC,
    SYSTEM,
)
from ffabric.system.description.toml.parsing import parse
from ffabric.system.description.toml.partition import SOURCES, Extra, PartitionTable
from ffabric.system.files.reading import IMAGE, read_file
from ffabric.system.options.keys import TableReader, read
from ffabric.system.options.problems import (
    ConfigErrors,
    Problems,
    SystemErrors,
    at_most,
    did_you_mean,
)
from ffabric.system.spec import (
    SP,
    TRUSTED_OS,
    VM,
    DeviceSpec,
    GicSpec,
    MemoryBank,
    MonitorSpec,
    PartitionDraft,
    RunSpec,
    SystemDraft,
    SystemSpec,
)

if TYPE_CHECKING:
    from ffabric.system.description.fip import FipContents
    from ffabric.system.description.sp_layout import LayoutEntry
    from ffabric.system.manifest.spmc import SpmcManifest

_TABLES = ("spmc", "gic", "run", "trusted_os", "monitor")
_ARRAYS = ("logical_partition", "memory", "sp", "vm", "device", "virtio")
MOST = 1024
"""Tables of an array."""
_KERNEL = "bl33"
"""What the VM of a package's BL33 is called."""
_WORLDS = {"normal": False, "secure": True, "both": None}


def read_system(path: Path | str) -> SystemSpec:
    """The system that a TOML file describes, whole. Raises SystemErrors with all that is wrong."""
    problems = Problems(str(path))
    draft = read_draft(Path(path), problems)
    return assemble(draft, problems)


def read_parsed(root: dict[str, Any], path: Path) -> SystemSpec:
    """As `read_system`, of a file that is parsed already; ``path`` is what messages call it."""
    problems = Problems(str(path))
    return assemble(_System(path, root, problems).draft(), problems)


def read_draft(path: Path, problems: Problems) -> SystemDraft:
    """What the file asks for. Raises SystemErrors only if it is not TOML."""
    return _System(path, parse(path), problems).draft()


class _System:
    def __init__(self, path: Path, root: dict[str, Any], problems: Problems) -> None:
        self.path, self.problems = path, problems
        self.board: dict[str, Any] = {}
        self.board_folder = path.parent
        self.root = self._on_its_board(root)
        root = self.root
        self.values: dict[str, Any] = read(
            TableReader(root, ""), SYSTEM, problems, also=(*_TABLES, *_ARRAYS)
        )
        folders: Any = self.values.pop("include", ())
        self.include = tuple(path.parent / folder for folder in folders)

    def _on_its_board(self, root: dict[str, Any]) -> dict[str, Any]:
        """The tables of the file, laid over those of its board."""
        name = root.get("board")
        if not isinstance(name, str):
            return root
        from ffabric.system.description import board as on_board  # noqa: PLC0415 - few

        path = on_board.find_board(name, self.path.parent, self.problems)
        if path is None:
            return root
        try:
            self.board = parse(path)
        except SystemErrors as error:
            self.problems.extend(error.problems)
            return root
        self.board_folder = path.parent
        inside = Problems(str(path))
        self.board = on_board.sound(self.board, inside)
        self.problems.extend(inside.found)
        self.problems.origins |= dict.fromkeys(on_board.brought(root, self.board), str(path))
        return on_board.lay_over(root, self.board)

    def draft(self) -> SystemDraft:
        spmc = self._values("spmc", SPMC)
        fip = self._fip(self.values.pop("fip", None))
        manifest = self._spmc_manifest(spmc.pop("manifest", None))
        if manifest is None and fip is not None:
            manifest = fip.spmc
        layout = self._layout(self.values.pop("sp_layout", None))
        sps, vms = self._array("sp"), self._array("vm")
        if virtio := self._array("virtio"):
            from ffabric.system.description.toml import virtio as on_virtio  # noqa: PLC0415 - few

            devices = on_virtio.described_devices(virtio, self.path.parent, self.problems)
            on_virtio.with_devices(sps, vms, devices, self.problems)
        partitions = [
            *self._sps(sps, layout, manifest, fip),
            *self._vms(vms, fip),
            *self._trusted_os(fip),
        ]
        if not partitions and not self.problems.errors:
            self.problems.warn("", "", "no partitions: neither [[sp]] nor [[vm]] nor [trusted_os]")
        known: dict[str, Any] = {"name": self.path.stem}
        if manifest is not None:
            known |= {"ffa_version": manifest.ffa_version, "mpidrs": manifest.mpidrs}
            known |= {"spmc_id": manifest.spmc_id, **_memory_of(manifest)}
        self.values.pop("board", None)
        if not self.values.get("mpidrs", True):
            del self.values["mpidrs"]
        if "id" in spmc:
            spmc["spmc_id"] = spmc.pop("id")
        memory = self._memory(self.root, self.path.parent)
        if manifest is not None or self.board:
            from ffabric.system.description.board import joined  # noqa: PLC0415 - few

            board = self._memory(self.board, self.board_folder)
            memory = joined(memory, known.pop("memory", ()), board)
        return SystemDraft(
            partitions=partitions,
            memory=memory,
            devices=tuple(device for device in map(self._device, self._array("device")) if device),
            gic=GicSpec(**self._values("gic", GIC)),
            monitor=self._monitor(),
            run=RunSpec(**self._values("run", RUN)),
            **{**known, **self.values, **spmc},
        )

    # -- tables ----------------------------------------------------------------------------------

    def _values(self, name: str, keys: Any) -> dict[str, Any]:
        table = self.root.get(name, {})
        if not isinstance(table, dict):
            self.problems.add("", name, f"expected a table: [{name}]")
            return {}
        return read(TableReader(table, f"[{name}]"), keys, self.problems)

    def _array(
        self, name: str, root: dict[str, Any] | None = None
    ) -> list[tuple[str, dict[str, Any]]]:
        """The tables of an array, each with what messages call it."""
        tables = (self.root if root is None else root).get(name, [])
        if not isinstance(tables, list) or not all(isinstance(entry, dict) for entry in tables):
            self.problems.add("", name, f"expected tables: [[{name}]]")
            return []
        return [
            (f"[[{name}]] {table.get('name') or f'#{number}'}", table)
            for number, table in enumerate(at_most(MOST, tables, f"[[{name}]]", self.problems), 1)
        ]

    def _memory(self, root: dict[str, Any], folder: Path) -> tuple[MemoryBank, ...]:
        found = []
        for number, (where, table) in enumerate(self._array("memory", root)):
            values: dict[str, Any] = read(TableReader(table, where), MEMORY, self.problems)
            contents = self._contents(where, values, folder)
            if {"base", "size"} <= values.keys():
                given = {"name": f"memory{number}", "secure": False, **values}
                found.append(MemoryBank(**given, contents=contents))
        return tuple(found)

    def _contents(self, where: str, values: dict[str, Any], folder: Path) -> bytes:
        """The file that a bank begins with."""
        name = values.pop("file", None)
        if name is None:
            return b""
        data = read_file(folder / name, where, "file", self.problems, IMAGE) or b""
        if len(data) > values.get("size", len(data)):
            message = f"{name}: its {len(data):#x} bytes are more than the bank has"
            self.problems.add(where, "file", message)
            return b""
        return data

    def _device(self, entry: tuple[str, dict[str, Any]]) -> DeviceSpec | None:
        where, table = entry
        kind = table.get("type")
        size, own = DEVICE_TYPES.get(kind, (PAGE, ())) if isinstance(kind, str) else (PAGE, ())
        values: dict[str, Any] = read(TableReader(table, where), (*DEVICE, *own), self.problems)
        if "type" in values and kind not in DEVICE_TYPES:
            names = ", ".join(DEVICE_TYPES)
            hint = did_you_mean(str(kind), DEVICE_TYPES)
            self.problems.add(where, "type", f"{kind!r} is not one of {names}{hint}")
            return None
        if not {"type", "base"} <= values.keys():
            return None
        options = {key.name: values.pop(key.name) for key in own if key.name in values}
        world = _WORLDS[values.pop("world", "normal")]
        return DeviceSpec(
            **{"name": kind, "size": size, **values, "secure": world, "options": options}
        )

    def _monitor(self) -> MonitorSpec:
        logical = self._array("logical_partition")
        if not logical and "monitor" not in self.root:
            return MonitorSpec()
        from ffabric.system.description.toml.monitor import read_monitor  # noqa: PLC0415 - few

        said = self.root.get("monitor", {})
        return read_monitor(said, logical, self.path.parent, self.problems)

    # -- files -----------------------------------------------------------------------------------

    def _spmc_manifest(self, name: str | None) -> SpmcManifest | None:
        if name is None:
            return None
        from ffabric.system.files.dts import read_tree  # noqa: PLC0415 - few
        from ffabric.system.manifest.spmc import find_spmc_manifest  # noqa: PLC0415

        path = self.path.parent / name
        problems = Problems(str(path))
        try:
            manifest = find_spmc_manifest(read_tree(path, self.include).root, problems)
        except ConfigErrors as error:
            self.problems.extend(error.problems)
            return None
        self.problems.extend(problems.found)
        return manifest

    def _layout(self, name: str | None) -> tuple[LayoutEntry, ...]:
        if name is None:
            return ()
        from ffabric.system.description.sp_layout import read_layout  # noqa: PLC0415 - few

        try:
            return read_layout(self.path.parent / name)
        except ConfigErrors as error:
            self.problems.extend(error.problems)
            return ()

    def _fip(self, name: str | None) -> FipContents | None:
        if name is None:
            return None
        from ffabric.system.description.fip import read_fip  # noqa: PLC0415 - few

        return read_fip(self.path.parent / name, self.problems)

    # -- partitions ------------------------------------------------------------------------------

    def _sps(
        self,
        tables: Sequence[tuple[str, dict[str, Any]]],
        layout: Sequence[LayoutEntry],
        manifest: SpmcManifest | None,
        fip: FipContents | None,
    ) -> list[PartitionDraft]:
        """The SPs of the layout and of the package, a [[sp]] of the same name laid over each.

        Then the others.
        """
        own = {str(table.get("name")): table for _, table in tables}
        drafts = []
        path, packages = ("", ()) if fip is None else (fip.path, fip.partitions)
        for part in packages:
            packaged = {"name": part.name, "package": f"{path}:{part.uuid}"}
            table = {**packaged, **own.pop(part.name, {})}
            extra = Extra(load_address=part.load_address, contents={"package": part.package})
            drafts.append(self._partition(SP, f"[[sp]] {part.name}", table, extra))
        for entry in layout:
            table = {**_layout_table(entry), **own.pop(entry.name, {})}
            extra = Extra(
                manifest_offset=entry.manifest_offset,
                size=entry.size,
                load_address=entry.load_address,
                transfer_list=entry.is_transfer_list,
            )
            drafts.append(self._partition(SP, f"[[sp]] {entry.name}", table, extra))
        listed = {entry.name for entry in layout}
        listed |= {part.name for part in packages}
        for where, table in tables:
            if str(table.get("name")) not in listed:
                drafts.append(self._partition(SP, where, table, Extra()))
        found = [draft for draft in drafts if draft]
        if manifest is None:
            return found
        from ffabric.system.description.toml.spmc import matched  # noqa: PLC0415 - few

        return matched(found, manifest, self.problems)

    def _vms(
        self, tables: Sequence[tuple[str, dict[str, Any]]], fip: FipContents | None
    ) -> list[PartitionDraft]:
        """The VMs; BL33 of the package is one that is called so, or else the kernel."""
        bl33 = None if fip is None else fip.bl33
        if bl33 is not None and not tables and not self.values.get("with_hypervisor", True):
            tables = [(f"[[vm]] {_KERNEL}", {"name": _KERNEL})]
        drafts = []
        for where, table in tables:
            is_bl33 = table.get("name") == _KERNEL and not table.keys() & SOURCES
            if is_bl33 and fip is not None and bl33 is None:
                if fip.read:
                    message = f"needs one of python, image: {fip.path} has no BL33 (nt-fw)"
                    self.problems.add(where, "", message)
            elif is_bl33 and fip is not None and bl33 is not None:
                image = {"image": f"{fip.path}:nt-fw"}
                extra = Extra(contents={"image": bl33})
                drafts.append(self._partition(VM, where, {**table, **image}, extra))
            else:
                drafts.append(self._partition(VM, where, table, Extra()))
        return [draft for draft in drafts if draft]

    def _trusted_os(self, fip: FipContents | None) -> list[PartitionDraft]:
        table = self.root.get(TRUSTED_OS)
        if table is None:
            return []
        if not isinstance(table, dict):
            self.problems.add("", TRUSTED_OS, f"expected a table: [{TRUSTED_OS}]")
            return []
        extra = Extra()
        own = fip is None or fip.has_spmc or bool(table.keys() & SOURCES)
        if fip is not None and fip.bl32 is not None and not own:
            table = {**table, "image": f"{fip.path}:tos-fw"}
            extra = Extra(contents={"image": fip.bl32})
        draft = self._partition(TRUSTED_OS, f"[{TRUSTED_OS}]", table, extra)
        return [draft] if draft else []

    def _partition(
        self, kind: str, where: str, table: dict[str, Any], extra: Extra
    ) -> PartitionDraft | None:
        reader = PartitionTable(
            kind,
            table,
            where,
            folder=self.path.parent,
            include=self.include,
            problems=self.problems,
        )
        return reader.draft(extra)


def _memory_of(manifest: SpmcManifest) -> dict[str, Any]:
    """The memory of the SPMC manifest, where its image is, and where it has devices."""
    from ffabric.system.description.toml.spmc import (  # noqa: PLC0415 - few have one
        banks,
        device_memory,
        reserved,
    )

    return {
        "memory": banks(manifest.memory),
        "reserved": reserved(manifest),
        "device_memory": device_memory(manifest),
    }


def _layout_table(entry: LayoutEntry) -> dict[str, Any]:
    offset = {} if entry.image_offset is None else {"image_offset": entry.image_offset}
    return {
        "name": entry.name,
        "image": str(entry.image.absolute()),
        "manifest": str(entry.manifest.absolute()),
        **offset,
    }


read_system.__module__ = "ffabric.testing"
