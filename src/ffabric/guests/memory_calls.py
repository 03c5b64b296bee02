"""Memory management as software at EL1 or EL2 uses it: FFA_MEM_* as steps (see ``ffa.py``).

A transaction is a descriptor in TX, and in RX what comes back; both go in fragments if they are
longer than the buffers (DEN0140 1.2, chapters 1 and 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.words import MASK32, PAGE, join
from ffabric.guests.steps import Steps, step

if TYPE_CHECKING:
    from ffabric.machine.access import GuestAccess
    from ffabric.system.vcpu import Buffers


class Retrieved(msgspec.Struct, frozen=True):
    """Memory that was retrieved: where it appeared, and what the relayer says of it."""

    handle: int
    ranges: tuple[tuple[int, int], ...]
    """(IPA, pages)"""
    attributes: int
    permissions: int
    sender: int

    @property
    def ipa(self) -> int:
        """Where the first range begins."""
        return self.ranges[0][0]


class MemoryCalls:
    """The memory management calls of one vCPU, whose other calls stand beside them."""

    version: int
    endpoint: int
    memory: GuestAccess
    buffers: Buffers
    resolve: Callable[[object], int]

    def _ffa(self, *registers: int) -> Steps[list[int]]:
        """Make a call: the registers of its answer; FFA_ERROR is raised."""
        raise NotImplementedError

    def _need_buffers(self) -> Steps[None]:
        """Map an RX/TX pair, unless the partition has one."""
        raise NotImplementedError

    @step
    def share(self, /, to: object, **options: Any) -> Steps[int]:
        """FFA_MEM_SHARE: the handle; see :meth:`_send` for the options."""
        return (yield from self._send(fid.FFA_MEM_SHARE_64, to, 2, **options))

    @step
    def lend(self, /, to: object, **options: Any) -> Steps[int]:
        """FFA_MEM_LEND: the handle; see :meth:`_send` for the options."""
        return (yield from self._send(fid.FFA_MEM_LEND_64, to, 2, **options))

    @step
    def donate(self, /, to: object, **options: Any) -> Steps[int]:
        """FFA_MEM_DONATE: the handle; see :meth:`_send` for the options."""
        return (yield from self._send(fid.FFA_MEM_DONATE_64, to, 0, **options))

    def _send(
        self,
        function: int,
        to: object,
        access: int,
        *,
        ipa: int = 0,
        pages: int = 1,
        ranges: Sequence[tuple[int, int]] = (),
        permissions: int | None = None,
        attributes: int | None = None,
        flags: int = 0,
        tag: int = 0,
        impdef: tuple[int, int] = (0, 0),
    ) -> Steps[int]:
        """Send ``ranges`` of (IPA, pages), or ``pages`` from ``ipa``, to one or more receivers."""
        yield from self._need_buffers()
        receivers = to if isinstance(to, (list, tuple)) else (to,)
        if attributes is None:
            shared = function == fid.FFA_MEM_SHARE_64 or len(receivers) > 1
            attributes = mem.MEM_ATTR_NORMAL_WB_INNER if shared else 0
        rights = access if permissions is None else permissions
        transaction = abi.Transaction(
            sender=self.endpoint,
            attributes=attributes,
            flags=flags,
            tag=tag,
            receivers=[abi.Receiver(self.resolve(r), rights, 0, 0, impdef) for r in receivers],
            constituents=list(ranges) or [(ipa, pages)],
        )
        data = abi.build_transaction(transaction, self.version)
        header = len(data) - 16 * len(transaction.constituents)
        first, *rest = abi.fragments(data, header, self.buffers.pages * PAGE)
        self.memory.write(self.buffers.tx, first)
        x = yield from self._ffa(function, len(data), len(first))
        for part in rest:
            self.memory.write(self.buffers.tx, part)
            x = yield from self._ffa(fid.FFA_MEM_FRAG_TX, x[1], x[2], len(part))
        return join(x[2], x[3])

    @step
    def retrieve(
        self,
        handle: int,
        sender: object,
        *,
        permissions: int = mem.PERM_DATA_RW,
        attributes: int = 0,
        flags: int = 0,
        tag: int = 0,
        impdef: tuple[int, int] = (0, 0),
        others: Sequence[tuple[object, int]] = (),
    ) -> Steps[Retrieved]:
        """FFA_MEM_RETRIEVE_REQ, all fragments read; ``others``: more (receiver, permissions)."""
        yield from self._need_buffers()
        receivers = [abi.Receiver(self.endpoint, permissions, 0, 0, impdef)]
        for who, rights in others:
            receivers.append(abi.Receiver(self.resolve(who), rights, 0, 0, impdef))
        request = abi.Transaction(
            sender=self.resolve(sender),
            attributes=attributes,
            flags=flags,
            handle=handle,
            tag=tag,
            receivers=receivers,
        )
        data = abi.build_transaction(request, self.version)
        self.memory.write(self.buffers.tx, data)
        x = yield from self._ffa(fid.FFA_MEM_RETRIEVE_REQ_64, len(data), len(data))
        total, length = x[1] & MASK32, x[2] & MASK32
        response = self.memory.read(self.buffers.rx, length)
        yield from self._ffa(fid.FFA_RX_RELEASE)
        while len(response) < total:
            x = yield from self._ffa(
                fid.FFA_MEM_FRAG_RX, handle & MASK32, handle >> 32, len(response)
            )
            response += self.memory.read(self.buffers.rx, x[3] & MASK32)
            yield from self._ffa(fid.FFA_RX_RELEASE)
        answer = abi.parse_transaction(response, self.version)
        return Retrieved(
            handle=answer.handle,
            ranges=tuple(answer.constituents),
            attributes=answer.attributes,
            permissions=answer.receivers[0].permissions,
            sender=answer.sender,
        )

    @step
    def relinquish(self, handle: int, flags: int = 0) -> Steps[None]:
        """FFA_MEM_RELINQUISH."""
        yield from self._need_buffers()
        request = abi.Relinquish(handle, flags, [self.endpoint])
        self.memory.write(self.buffers.tx, abi.build_relinquish(request))
        yield from self._ffa(fid.FFA_MEM_RELINQUISH)

    @step
    def reclaim(self, handle: int, flags: int = 0) -> Steps[None]:
        """FFA_MEM_RECLAIM."""
        yield from self._ffa(fid.FFA_MEM_RECLAIM, handle & MASK32, handle >> 32, flags)

    @step
    def mem_perm_get(self, ipa: int, pages: int = 1) -> Steps[tuple[int, int]]:
        """FFA_MEM_PERM_GET: the permissions and how many pages from ``ipa`` have them.

        Before v1.3 the answer is of one page only.
        """
        x = yield from self._ffa(fid.FFA_MEM_PERM_GET_64, ipa, pages - 1)
        return x[2] & MASK32, (x[3] & MASK32) + 1

    @step
    def mem_perm_set(self, ipa: int, pages: int, permissions: int) -> Steps[None]:
        """FFA_MEM_PERM_SET."""
        yield from self._ffa(fid.FFA_MEM_PERM_SET_64, ipa, pages, permissions)
