"""The stage-2 tables of a system's endpoints, which come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.lab.oracle.stage2_reader import Reach, TableReader

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import Partition
    from ffabric.machine.translation.stage2 import Stage2
    from ffabric.system.system import System


class Tables:
    """A reader for the tables of each partition manager, and what each endpoint reaches.

    ``world`` is the SPMC's account of the normal world; it is also what an OS kernel reaches that
    has no hypervisor above it.
    """

    def __init__(self, system: System) -> None:
        memory = system.machine.memory
        self.readers = [TableReader(memory, each.pool) for each in system.firmware.managers]
        table = system.firmware.spmc.normal_world.stage2
        assert table is not None
        self.world = self._read(table)
        self.reaches: dict[Partition, Reach] = {}

    def add(self, partition: Partition) -> Reach:
        """Read the table of one more endpoint."""
        table = partition.stage2
        reach = self.reaches[partition] = self._read(table) if table is not None else self.world
        return reach

    def remove(self, partition: Partition) -> Reach:
        """Forget an endpoint that is gone."""
        reach = self.reaches.pop(partition)
        if reach is not self.world:
            reach.reader.remove(reach)
        return reach

    def look(self) -> None:
        """Let all listeners hear what has changed since the last look."""
        for reader in self.readers:
            reader.look()

    def leave_out(self) -> None:
        """Drop what memory says as well, until `take_in`: the last look was just now."""
        for reader in self.readers:
            reader.leave_out()

    def take_in(self) -> None:
        """Have it again."""
        for reader in self.readers:
            reader.take_in()

    def _read(self, table: Stage2) -> Reach:
        reader = next(each for each in self.readers if each.pool is table.pool)
        return reader.add(table)
