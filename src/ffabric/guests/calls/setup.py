"""Setup and discovery: version, ids, features, partitions, the RX/TX pair (DEN0077A 1.2, 13)."""

from __future__ import annotations

from uuid import UUID

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa.accessors import result_reader, writer
from ffabric.abi.ffa.uuids import NIL, as_uuid, to_int, to_words
from ffabric.abi.words import MASK32
from ffabric.guests.calls.both_ways import both_ways
from ffabric.guests.calls.channel import Channel
from ffabric.guests.errors import FfaError, error_of

_get_regs = writer(fid.FFA_PARTITION_INFO_GET_REGS, "uuid", "start_index", "tag")
_read_id = result_reader(fid.FFA_ID_GET, "id")
_read_features = result_reader(fid.FFA_FEATURES, "properties", "properties_2")
_read_found = result_reader(fid.FFA_PARTITION_INFO_GET, "count", "descriptor_size")


class SetupCalls(Channel):
    """The calls with which a partition sets itself up and discovers other partitions."""

    @both_ways
    async def negotiate(self, version: int) -> int:
        """FFA_VERSION: the callee's version. Raises FfaError if it is incompatible with ours."""
        x = await self._exit(fid.FFA_VERSION, version)
        answer = x[0] & MASK32
        if answer >> 31:
            raise error_of(self.vcpu, answer, fid.FFA_VERSION)
        self.vcpu.version = min(version, answer)
        return answer

    @both_ways
    async def id_get(self) -> int:
        """FFA_ID_GET: the caller's endpoint id."""
        x = await self._bare(fid.FFA_ID_GET)
        endpoint = self.vcpu.endpoint = _read_id(x)
        return endpoint

    @both_ways
    async def secondary_register(self, entry: int) -> None:
        """FFA_SECONDARY_EP_REGISTER: let the partition's other vCPUs start at ``entry``."""
        await self._ffa(fid.FFA_SECONDARY_EP_REGISTER_64, entry)

    @both_ways
    async def spm_id_get(self) -> int:
        """FFA_SPM_ID_GET: the SPMC's endpoint id."""
        x = await self._bare(fid.FFA_SPM_ID_GET)
        return _read_id(x)

    @both_ways
    async def features(self, feature: int, properties: int = 0) -> tuple[int, int]:
        """FFA_FEATURES of a function id or feature id: the properties in w2 and w3."""
        x = await self._ffa(fid.FFA_FEATURES, feature, properties)
        answer, answer_2 = _read_features(x)
        return answer, answer_2

    @both_ways
    async def partition_info(self, uuid: UUID | str = NIL) -> list[info.PartitionInfo]:
        """FFA_PARTITION_INFO_GET: the partitions that implement ``uuid`` (the nil UUID: all)."""
        wanted = to_words(as_uuid(uuid))
        await self._need_buffers()
        x = await self._ffa(fid.FFA_PARTITION_INFO_GET, *wanted)
        count, size = _read_found(x)
        size = size or info.descriptor_size(self.version)
        data = self.memory.read(self.buffers.rx, count * size)
        await self._bare(fid.FFA_RX_RELEASE)
        return info.parse_partition_info(data, count, size)

    @both_ways
    async def partition_info_regs(self, uuid: UUID | str = NIL) -> list[info.PartitionInfo]:
        """FFA_PARTITION_INFO_GET_REGS: the partitions that implement ``uuid`` (the nil UUID: all).

        The call is repeated until all descriptors have been read.
        """
        wanted = to_int(as_uuid(uuid))
        found: list[info.PartitionInfo] = []
        tag = 0
        while True:
            x = await self._ffa(*_get_regs(wanted, len(found), tag))
            page = info.parse_registers(x, len(found))
            found += page.infos
            tag = page.tag
            if page.current >= page.last:
                return found

    @both_ways
    async def map_buffers(self, pages: int = 1) -> tuple[int, int]:
        """FFA_RXTX_MAP of newly allocated buffers of ``pages`` each: the IPAs of TX and RX."""
        tx = self.ram.allocate(pages)
        rx = self.ram.allocate(pages)
        buffers = self.buffers
        former = buffers.tx, buffers.rx, buffers.pages
        buffers.tx, buffers.rx, buffers.pages = tx, rx, pages  # other vCPUs do not map them again
        try:
            await self._ffa(fid.FFA_RXTX_MAP_64, tx, rx, pages)
        except FfaError:
            buffers.tx, buffers.rx, buffers.pages = former
            for ipa in (tx, rx):
                self.ram.free(ipa, pages)
            raise
        return tx, rx

    @both_ways
    async def unmap_buffers(self) -> None:
        """FFA_RXTX_UNMAP; the pages of the buffers are free again."""
        await self._bare(fid.FFA_RXTX_UNMAP)
        buffers = self.buffers
        for ipa in (buffers.tx, buffers.rx):
            self.ram.free(ipa, buffers.pages)
        buffers.tx = buffers.rx = buffers.pages = 0

    @both_ways
    async def rx_release(self) -> None:
        """FFA_RX_RELEASE: hand RX back to the partition manager."""
        await self._bare(fid.FFA_RX_RELEASE)

    async def _need_buffers(self) -> None:
        """Map an RX/TX pair, unless the partition has one."""
        if not self.buffers.pages:
            await self.map_buffers()
