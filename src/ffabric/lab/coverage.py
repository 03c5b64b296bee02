"""Which basic blocks of images have been executed, as drcov files tell it.

Source of the format: DynamoRIO's `drcov`, version 2, as Lighthouse, Cartographer and bncov read it.
A module is the image of a partition. Offsets count from the first byte of a raw image, and from the
first page of an ELF file. What a partition executes outside its image (what it has copied or
generated) is in no module.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ffabric.abi.words import PAGE
from ffabric.machine.engines.unicorn import native
from ffabric.machine.engines.unicorn.package import uc
from ffabric.machine.engines.unicorn.runner import UnicornRunner
from ffabric.system.spec import ImageSource

if TYPE_CHECKING:
    from pathlib import Path

    from ffabric.system.endpoint import Endpoint
    from ffabric.system.system import System

_BLOCK = struct.Struct("<IHH")
_MOST_BYTES = 0xFFFF


class _Watch:
    """An `Instrument` that notes the blocks of one vCPU."""

    def __init__(self, runner: UnicornRunner, module: Module) -> None:
        self._runner = runner
        self._module = module
        self._emulator: native.Emulator | None = None
        self._entered: set[tuple[int, int]] = set()
        """Virtual address and bytes of what this stretch has executed."""
        runner.interpreted = True
        runner.instrument = self

    def before(self, budget: int) -> int:
        """See `Instrument.before`."""
        self._entered.clear()
        emulator = self._runner.emulator
        if self._emulator is not emulator:
            self._emulator = emulator
            emulator.hook(uc.UC_HOOK_BLOCK, native.CodeHook(self._enter))
            emulator.flush_code()
        return budget

    def _enter(self, _engine: int, address: int, size: int, _user: int) -> None:
        """A block begins. Within a stretch, an image remains where it is."""
        if (address, size) not in self._entered:
            assert self._emulator is not None
            self._entered.add((address, size))
            pa = self._emulator.fetched_from(address)
            if pa is not None:
                self._module.executed(pa, size)


class Module:
    """The image of a partition, and what of it has been executed."""

    def __init__(self, endpoint: Endpoint, source: ImageSource) -> None:
        load = endpoint.spec.load_address
        image = source.image
        first = min(part.offset for part in image.parts)
        if image.is_elf:
            first -= first % PAGE
        self.name: str = endpoint.name
        self.path: str = source.path
        self.size: int = image.end - first
        self.base: int = first + (load if image.base is None else image.base)
        """The address of offset 0: the first byte of a raw image, the first page of an ELF file."""
        self.entry: int = endpoint.spec.entry
        self.blocks: set[tuple[int, int]] = set()
        """Offset and bytes of each block."""
        self._pa = next(
            each.pa + load - each.ipa + first
            for each in endpoint.spec.memory
            if each.ipa <= load < each.ipa + each.size
        )

    def executed(self, pa: int, size: int) -> None:
        """So many bytes at a physical address were executed."""
        offset = pa - self._pa
        if 0 <= offset < self.size:
            self.blocks.add((offset, min(size, _MOST_BYTES)))

    @property
    def covered(self) -> int:
        """How many bytes of the image were executed."""
        done, end = 0, 0
        for offset, size in sorted(self.blocks):
            done += max(0, offset + size - max(offset, end))
            end = max(end, offset + size)
        return done


class Coverage:
    """What ``system`` executes of its images from now on. Unicorn executes them, without its C."""

    def __init__(self, system: System) -> None:
        self.modules: list[Module] = []
        self._watches: list[_Watch] = []
        for endpoint in system.endpoints.values():
            source = endpoint.spec.source
            runners = [
                each.runner
                for each in endpoint.partition.contexts
                if isinstance(each.runner, UnicornRunner)
            ]
            if isinstance(source, ImageSource) and runners:
                module = Module(endpoint, source)
                self.modules.append(module)
                self._watches += [_Watch(each, module) for each in runners]
        if not self.modules:
            raise ValueError("no partition is an image that Unicorn executes")

    def write(self, path: Path) -> None:
        """Write a drcov file."""
        blocks = [
            _BLOCK.pack(offset, size, number)
            for number, module in enumerate(self.modules)
            for offset, size in sorted(module.blocks)
        ]
        lines = [
            "DRCOV VERSION: 2",
            "DRCOV FLAVOR: ffabric",
            f"Module Table: version 2, count {len(self.modules)}",
            "Columns: id, base, end, entry, checksum, timestamp, path",
            *(
                f"{number:3}, {each.base:#018x}, {each.base + each.size:#018x}, {each.entry:#018x},"
                f" 0x00000000, 0x00000000, {each.path}"
                for number, each in enumerate(self.modules)
            ),
            f"BB Table: {len(blocks)} bbs",
        ]
        path.write_bytes("".join(f"{line}\n" for line in lines).encode() + b"".join(blocks))
