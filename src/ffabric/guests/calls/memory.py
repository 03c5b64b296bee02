"""Memory management: FFA_MEM_* (DEN0140 1.2, chapters 1 and 2).

A transaction is a descriptor in TX, and in RX what comes back; both go in fragments if they are
longer than the buffers. Addresses are IPAs, sizes are in pages of 4 KiB.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa.accessors import reader, result_reader, writer
from ffabric.abi.ffa.memory_words import MEM_ATTR_NORMAL_WB_INNER
from ffabric.abi.ffa.options import MemoryAttributes, MemoryFlags, MemoryPermissions
from ffabric.abi.words import PAGE
from ffabric.guests.calls.both_ways import both_ways
from ffabric.guests.calls.setup import SetupCalls
from ffabric.system.vcpu import Peer

Peers = Peer | Sequence[Peer]
"""One receiver, or several."""
Ranges = Sequence[tuple[int, int]]
"""Address ranges: the IPA and the pages of each."""

_SEVERAL = (list, tuple)
_reclaim = writer(fid.FFA_MEM_RECLAIM, "handle", "flags")
_frag_tx = writer(fid.FFA_MEM_FRAG_TX, "handle", "fragment_length")
_frag_rx = writer(fid.FFA_MEM_FRAG_RX, "handle", "offset")
_read_handle = result_reader(fid.FFA_MEM_SHARE_64, "handle")
_read_asked = reader(fid.FFA_MEM_FRAG_RX, "handle")
_read_lengths = reader(fid.FFA_MEM_RETRIEVE_RESP, "total_length", "fragment_length")
_read_length = reader(fid.FFA_MEM_FRAG_TX, "fragment_length")
_read_permissions = result_reader(fid.FFA_MEM_PERM_GET_64, "permissions", "more_pages")


class Retrieved(msgspec.Struct, frozen=True, gc=False):
    """Memory that was retrieved: where it is mapped, and what the relayer says about it."""

    handle: int
    ranges: tuple[tuple[int, int], ...]
    """The IPA and the pages of each address range."""
    attributes: int
    """Bits of `MemoryAttributes`."""
    permissions: int
    """Bits of `MemoryPermissions`."""
    sender: int
    """The owner's endpoint id."""

    @property
    def ipa(self) -> int:
        """Where the first range begins."""
        return self.ranges[0][0]

    def __repr__(self) -> str:
        ranges = ", ".join(f"{pages} at {ipa:#x}" for ipa, pages in self.ranges)
        return f"<Retrieved {self.handle:#x} of {self.sender:#06x}: pages {ranges}>"


def _bits(name: str, value: object) -> int:
    """The bits of flags as a plain integer, with which it is quicker to calculate."""
    if isinstance(value, int):
        return int(value)
    raise TypeError(f"{name}: {value!r} is not an integer")


class MemoryCalls(SetupCalls):
    """The memory management calls."""

    @both_ways
    def share(
        self,
        to: Peers,
        *,
        ipa: int = 0,
        pages: int = 1,
        ranges: Ranges = (),
        permissions: MemoryPermissions | int = MemoryPermissions.RW,
        attributes: MemoryAttributes | int | None = None,
        flags: MemoryFlags | int = 0,
        tag: int = 0,
        impdef: tuple[int, int] = (0, 0),
    ) -> Coroutine[int, None, int]:
        """FFA_MEM_SHARE: share ``pages`` from ``ipa`` on, or ``ranges``, with ``to``: the handle.

        If ``attributes`` is None, the memory is normal, write-back and inner shareable. ``impdef``
        holds two 64-bit values for each receiver (since v1.2).
        """
        return self._send(
            fid.FFA_MEM_SHARE_64,
            to,
            ranges=ranges or ((ipa, pages),),
            permissions=permissions,
            attributes=attributes,
            flags=flags,
            tag=tag,
            impdef=impdef,
        )

    @both_ways
    def lend(
        self,
        to: Peers,
        *,
        ipa: int = 0,
        pages: int = 1,
        ranges: Ranges = (),
        permissions: MemoryPermissions | int = MemoryPermissions.RW,
        attributes: MemoryAttributes | int | None = None,
        flags: MemoryFlags | int = 0,
        tag: int = 0,
        impdef: tuple[int, int] = (0, 0),
    ) -> Coroutine[int, None, int]:
        """FFA_MEM_LEND: lend ``pages`` from ``ipa`` on, or ``ranges``, to ``to``: the handle.

        If ``attributes`` is None, they are not specified for a single borrower, and are those of
        `share` for several. ``impdef`` holds two 64-bit values for each receiver (since v1.2).
        """
        return self._send(
            fid.FFA_MEM_LEND_64,
            to,
            ranges=ranges or ((ipa, pages),),
            permissions=permissions,
            attributes=attributes,
            flags=flags,
            tag=tag,
            impdef=impdef,
        )

    @both_ways
    def donate(
        self,
        to: Peers,
        *,
        ipa: int = 0,
        pages: int = 1,
        ranges: Ranges = (),
        permissions: MemoryPermissions | int = 0,
        attributes: MemoryAttributes | int | None = None,
        flags: MemoryFlags | int = 0,
        tag: int = 0,
        impdef: tuple[int, int] = (0, 0),
    ) -> Coroutine[int, None, int]:
        """FFA_MEM_DONATE: donate ``pages`` from ``ipa`` on, or ``ranges``, to ``to``: the handle.

        ``permissions`` of 0 and ``attributes`` of None mean "not specified". ``impdef`` holds two
        64-bit values for the receiver (since v1.2).
        """
        return self._send(
            fid.FFA_MEM_DONATE_64,
            to,
            ranges=ranges or ((ipa, pages),),
            permissions=permissions,
            attributes=attributes,
            flags=flags,
            tag=tag,
            impdef=impdef,
        )

    async def _send(
        self,
        function: int,
        to: Peers,
        *,
        ranges: Ranges,
        permissions: int,
        attributes: int | None,
        flags: int,
        tag: int,
        impdef: tuple[int, int],
    ) -> int:
        """Send ``ranges`` to one or more receivers: the handle."""
        several: Sequence[Any] = to if isinstance(to, _SEVERAL) else (to,)
        ids = [self.resolve(each) for each in several]
        rights = permissions
        if type(rights) is not int:
            rights = _bits("permissions", permissions)
        if not self.buffers.pages:
            await self._need_buffers()
        if attributes is None:
            shared = function == fid.FFA_MEM_SHARE_64 or len(ids) > 1
            attributes = MEM_ATTR_NORMAL_WB_INNER if shared else 0
        data = abi.build_descriptor(
            self.vcpu.version,
            (self.vcpu.endpoint, attributes, flags, 0, tag),
            [(each, rights, 0, impdef) for each in ids],
            ranges,
        )
        header = len(data) - 16 * len(ranges)
        first, *rest = abi.fragments(data, header, self.buffers.pages * PAGE)
        self.memory.write(self.buffers.tx, first)
        x = await self._ffa(function, len(data), len(first))
        for part in rest:
            self.memory.write(self.buffers.tx, part)
            x = await self._ffa(*_frag_tx(_read_asked(x), len(part)))
        return _read_handle(x)

    @both_ways
    async def retrieve(
        self,
        handle: int,
        sender: Peer,
        *,
        permissions: MemoryPermissions | int = MemoryPermissions.RW,
        attributes: MemoryAttributes | int = 0,
        flags: MemoryFlags | int = 0,
        tag: int = 0,
        impdef: tuple[int, int] = (0, 0),
        others: Sequence[tuple[Peer, MemoryPermissions | int]] = (),
    ) -> Retrieved:
        """FFA_MEM_RETRIEVE_REQ: retrieve the region with ``handle``, which ``sender`` has sent.

        Every fragment of the answer is read. ``others`` lists each other borrower and its
        permissions.
        """
        owner = self.resolve(sender)
        own = permissions if type(permissions) is int else _bits("permissions", permissions)
        receivers = [(self.vcpu.endpoint, own, 0, impdef)]
        for who, rights in others:
            receivers.append((self.resolve(who), _bits("permissions", rights), 0, impdef))
        if not self.buffers.pages:
            await self._need_buffers()
        header = (owner, attributes, flags, handle, tag)
        data = abi.build_descriptor(self.vcpu.version, header, receivers)
        self.memory.write(self.buffers.tx, data)
        x = await self._ffa(fid.FFA_MEM_RETRIEVE_REQ_64, len(data), len(data))
        total, length = _read_lengths(x)
        response = self.memory.read(self.buffers.rx, length)
        await self._bare(fid.FFA_RX_RELEASE)
        while len(response) < total:
            x = await self._ffa(*_frag_rx(handle, len(response)))
            response += self.memory.read(self.buffers.rx, _read_length(x))
            await self._bare(fid.FFA_RX_RELEASE)
        answer = abi.parse_transaction(response, self.vcpu.version)
        given = answer.receivers[0].permissions
        ranges = tuple(answer.constituents)
        return Retrieved(answer.handle, ranges, answer.attributes, given, answer.sender)

    @both_ways
    async def relinquish(self, handle: int, flags: MemoryFlags | int = 0) -> None:
        """FFA_MEM_RELINQUISH: give up access to the region with ``handle``."""
        if not self.buffers.pages:
            await self._need_buffers()
        request = abi.Relinquish(handle, flags, [self.vcpu.endpoint])
        self.memory.write(self.buffers.tx, abi.build_relinquish(request))
        await self._bare(fid.FFA_MEM_RELINQUISH)

    @both_ways
    async def reclaim(self, handle: int, flags: MemoryFlags | int = 0) -> None:
        """FFA_MEM_RECLAIM: take back the region with ``handle``."""
        await self._ffa(*_reclaim(handle, int(flags)))

    @both_ways
    async def mem_perm_get(self, ipa: int, pages: int = 1) -> tuple[int, int]:
        """FFA_MEM_PERM_GET: the permissions at ``ipa``, and how many pages from there on have them.

        The permissions are encoded as in DEN0140 1.2, section 2.8. Before v1.3 the answer covers
        only one page.
        """
        x = await self._ffa(fid.FFA_MEM_PERM_GET_64, ipa, pages - 1)
        permissions, more = _read_permissions(x)
        return permissions, more + 1

    @both_ways
    async def mem_perm_set(self, ipa: int, pages: int, permissions: int) -> None:
        """FFA_MEM_PERM_SET: set the permissions of ``pages`` from ``ipa`` on.

        The permissions are encoded as in DEN0140 1.2, section 2.8.
        """
        await self._ffa(fid.FFA_MEM_PERM_SET_64, ipa, pages, permissions)
