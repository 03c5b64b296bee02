"""Which lines of an image's sources have been executed, as lcov's tracefiles tell it.

Sources: the man page geninfo(1) for the format; DWARF 5, section 6.2 (line numbers) and 3.3
(subprograms). The image is an ELF file with line numbers (``-g``). A line counts as executed once:
blocks are noted, not how often they are entered. A line of which no instruction was executed has 0.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ffabric.system.booting.engines.extras import MissingExtra
from ffabric.system.files.images import ELF_MAGIC

if TYPE_CHECKING:
    from ffabric.lab.coverage import Coverage, Module

SUFFIX: Final = ".info"
"""How lcov's files end."""
_VERSION_OF_ZERO: Final = 5
"""The version of DWARF since which files and folders are counted from 0."""


class Row(msgspec.Struct, frozen=True):
    """Instructions of one line: addresses as they were linked."""

    start: int
    end: int
    file: str
    line: int


class Function(msgspec.Struct, frozen=True):
    """A function, where it begins."""

    address: int
    file: str
    line: int
    name: str


class Lines:
    """The line numbers of an image, from its ELF file."""

    def __init__(self, path: Path) -> None:
        """Raises OSError for a file that cannot be read, ValueError for one without lines."""
        self.rows: list[Row] = []
        self.functions: list[Function] = []
        self._segments: list[tuple[int, int, int]] = []
        """(p_paddr, p_vaddr, bytes)"""
        elf = _package()
        with path.open("rb") as file:
            if file.read(len(ELF_MAGIC)) != ELF_MAGIC:
                raise ValueError(f"{path}: it has no line numbers: it is no ELF file")
            try:
                self._read(elf.ELFFile(file))
            except OSError:
                raise
            except Exception as error:  # noqa: BLE001 - a broken file makes it raise anything
                raise ValueError(f"{path}: its line numbers cannot be read: {error!r}") from None
        if not self.rows:
            raise ValueError(f"{path}: it has no line numbers: compile it with -g")

    def linked(self, base: int, offset: int) -> int | None:
        """The address to which the byte ``offset`` behind physical address ``base`` was linked."""
        at = base + offset
        return next(
            (at - paddr + vaddr for paddr, vaddr, size in self._segments if 0 <= at - paddr < size),
            None,
        )

    @property
    def first(self) -> int:
        """The page where the first segment is loaded, as it was linked."""
        return min(paddr for paddr, _, _ in self._segments) & ~0xFFF

    def _read(self, elf: Any) -> None:
        self._segments = [
            (each["p_paddr"], each["p_vaddr"], each["p_memsz"])
            for each in elf.iter_segments("PT_LOAD")
            if each["p_memsz"]
        ]
        if not self._segments or not elf.has_dwarf_info():
            return
        info = elf.get_dwarf_info()
        for unit in info.iter_CUs():
            program = info.line_program_for_CU(unit)
            if program is None:
                continue
            files = [*_files(program, _text(unit.get_top_DIE(), "DW_AT_comp_dir"))]
            self.rows += _rows(program, files)
            for die in unit.iter_DIEs():
                if die.tag == "DW_TAG_subprogram":
                    self.functions += _function(die, files, program)


def _package() -> Any:
    try:
        from elftools.elf import elffile  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtra("pyelftools", "lcov") from None
    return elffile


def _files(program: Any, where: str) -> Iterator[str]:
    """The files that a line program names, in its order; ``where`` its unit was compiled."""
    old = program["version"] < _VERSION_OF_ZERO
    named = [b"", *program["include_directory"]] if old else program["directories"]
    folders = [_decoded(each if old else each["DW_LNCT_path"]) for each in named]
    for entry in program["file_entry"]:
        number = entry.dir_index if "dir_index" in entry else 0
        folder = folders[number] if number < len(folders) else ""
        yield str(PurePosixPath(where) / folder / _decoded(entry.name))


def _rows(program: Any, files: list[str]) -> Iterator[Row]:
    shift = 1 if program["version"] < _VERSION_OF_ZERO else 0
    before: Any = None
    for entry in program.get_entries():
        state = entry.state
        if state is None:
            continue
        if before is not None and state.address > before.address and before.line:
            number = before.file - shift
            if 0 <= number < len(files):
                yield Row(before.address, state.address, files[number], before.line)
        before = None if state.end_sequence else state


def _function(die: Any, files: list[str], program: Any) -> Iterator[Function]:
    """The function that an entry is, if it has code of its own and says where it was declared."""
    attributes = die.attributes
    if (
        not {"DW_AT_low_pc", "DW_AT_decl_file", "DW_AT_decl_line", "DW_AT_name"}
        <= attributes.keys()
    ):
        return
    number = attributes["DW_AT_decl_file"].value
    number -= 1 if program["version"] < _VERSION_OF_ZERO else 0
    if 0 <= number < len(files):
        yield Function(
            attributes["DW_AT_low_pc"].value,
            files[number],
            attributes["DW_AT_decl_line"].value,
            _text(die, "DW_AT_name"),
        )


def _text(die: Any, name: str) -> str:
    attribute = die.attributes.get(name)
    return "" if attribute is None else _decoded(attribute.value)


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace").replace("\n", "?")


class Sources:
    """The sources of all images of a run that have line numbers."""

    def __init__(self, coverage: Coverage, folder: Path) -> None:
        """``folder``: from where the paths of images count.

        Raises ValueError if no image has line numbers.
        """
        self.lines: list[tuple[Module, Lines]] = []
        self.without: list[str] = []
        """Why other images have none."""
        for module in coverage.modules:
            try:
                self.lines.append((module, Lines(folder / module.path)))
            except OSError as error:
                self.without.append(f"{module.path}: {error.strerror}")
            except ValueError as error:
                self.without.append(str(error))
        if not self.lines:
            raise ValueError("; ".join(self.without))

    def write(self, path: Path) -> None:
        """Write a tracefile of what has been executed."""
        lines: dict[str, dict[int, int]] = {}
        functions: dict[str, dict[str, tuple[int, int]]] = {}
        for module, table in self.lines:
            executed = _Executed(module, table)
            for row in table.rows:
                counts = lines.setdefault(row.file, {})
                hit = int(executed.any(row.start, row.end))
                counts[row.line] = max(counts.get(row.line, 0), hit)
            for each in table.functions:
                known = functions.setdefault(each.file, {})
                hit = int(executed.any(each.address, each.address + 4))
                known[each.name] = (each.line, max(known.get(each.name, (0, 0))[1], hit))
        with path.open("w", encoding="utf-8") as file:
            for name, counts in sorted(lines.items()):
                record = _record(name, counts, functions.get(name, {}))
                file.writelines(f"{each}\n" for each in record)


def _record(
    name: str, lines: dict[int, int], functions: dict[str, tuple[int, int]]
) -> Iterator[str]:
    """What a tracefile says of one source."""
    yield "TN:"
    yield f"SF:{name}"
    for function, (line, _) in sorted(functions.items()):
        yield f"FN:{line},{function}"
    for function, (_, hit) in sorted(functions.items()):
        yield f"FNDA:{hit},{function}"
    yield f"FNF:{len(functions)}"
    yield f"FNH:{sum(hit for _, hit in functions.values())}"
    for line, hit in sorted(lines.items()):
        yield f"DA:{line},{hit}"
    yield f"LF:{len(lines)}"
    yield f"LH:{sum(lines.values())}"
    yield "end_of_record"


class _Executed:
    """What was executed of a module, by addresses as they were linked."""

    def __init__(self, module: Module, table: Lines) -> None:
        spans = sorted(
            (at, at + size)
            for offset, size in module.blocks
            if (at := table.linked(table.first, offset)) is not None
        )
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in spans:
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def any(self, start: int, end: int) -> bool:
        """Whether a byte of ``start`` to ``end`` (exclusive) was executed."""
        at = bisect_right(self._starts, end - 1) - 1
        return at >= 0 and self._ends[at] > start
