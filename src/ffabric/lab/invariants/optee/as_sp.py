"""OP-TEE as an SP: the requests of its clients, and its responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.flags import FRAMEWORK_MESSAGE
from ffabric.abi.optee import ffa
from ffabric.abi.optee import message as wire
from ffabric.abi.optee.message import Message
from ffabric.abi.words import MASK32, PAGE, join, unpack_ids
from ffabric.lab.invariants.optee.account import Account, Asked
from ffabric.lab.invariants.optee.messages import read, rest_of_page
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.machine.events import Call, Return

if TYPE_CHECKING:
    from ffabric.system.system import System

_REQUESTS: Final = frozenset({fid.FFA_MSG_SEND_DIRECT_REQ_32, fid.FFA_MSG_SEND_DIRECT_REQ_64})
_RESPONSES: Final = frozenset({fid.FFA_MSG_SEND_DIRECT_RESP_32, fid.FFA_MSG_SEND_DIRECT_RESP_64})


class AsSp:
    """OP-TEE as an SP: who sends a direct request is its client."""

    def __init__(self, system: System, account: Callable[[int], Account]) -> None:
        self._system = system
        self._account = account
        self._cores = {
            name: each.id
            for name, each in system.endpoints.items()
            if each.spec.secure and ffa.OPTEE_UUID in each.partition.uuids
        }
        """Names and ids of what offers OP-TEE's service."""
        self._inside: dict[tuple[str, int], tuple[Account, Asked | None, int]] = {}
        """By context: for whom it executes which call (None: another's), the thread or -1."""

    def returned(self, event: Return) -> None:
        """A request reaches OP-TEE."""
        x = event.x
        if event.endpoint not in self._cores or x[0] & MASK32 not in _REQUESTS:
            return
        if x[2] & FRAMEWORK_MESSAGE:
            return
        account = self._account(unpack_ids(x[1])[0])
        service, context = x[3] & MASK32, (event.endpoint, event.vcpu)
        self._inside.pop(context, None)
        if service == ffa.YIELDING_CALL_WITH_ARG:
            self._inside[context] = account, self._begins(account, x), -1
        elif service == ffa.YIELDING_CALL_RESUME:
            thread = x[7] & MASK32
            self._inside[context] = account, account.threads.get(thread), thread

    def _begins(self, account: Account, x: Sequence[int]) -> Asked | None:
        handle = join(x[4], x[5])
        at = self._place(account, handle, x[6] & MASK32)
        if at is None:
            return None
        return account.begins(self._parsed(at), at)

    def _place(self, account: Account, handle: int, offset: int) -> int | None:
        """Where in physical memory a byte of shared memory is; None: it is not the VM's."""
        self._take_stock(account)
        region = self._system.firmware.spmc.regions.live.get(handle)
        if handle not in account.memory or region is None:
            return None
        for address, count in region.constituents:
            if offset < count * PAGE:
                return address + offset
            offset -= count * PAGE
        return None

    def _take_stock(self, account: Account) -> None:
        """Memory that the VM has shared with FF-A is in its account until it takes it back."""
        live = self._system.firmware.spmc.regions.live
        account.memory = {
            handle
            for handle, region in live.items()
            if self._account(region.sender) is account
            and any(region.borrower(core) is not None for core in self._cores.values())
        }

    def called(self, event: Call) -> None:
        """OP-TEE responds."""
        x = event.x
        if event.endpoint not in self._cores or x[0] & MASK32 not in _RESPONSES:
            return
        account, asked, thread = self._inside.pop((event.endpoint, event.vcpu), (None, None, -1))
        if account is None:
            return
        self._take_stock(account)
        result, kind, resume = x[3] & MASK32, x[4] & MASK32, x[7] & MASK32
        if result:
            return
        if asked is None:
            what = f"resumes thread {thread:#x}" if thread >= 0 else "has a message served"
            raise Discrepancy(f"{account.vm} {what}, which is not its own")
        account.threads.pop(thread, None)
        if kind == ffa.Return.DONE:
            account.ends(asked, self._parsed(asked.at))
            return
        account.threads[resume] = asked
        if kind == ffa.Return.RPC_CMD:
            rpc_at = asked.at + wire.message_size(len(asked.message.params))
            account.shows(self._parsed(rpc_at))

    def _parsed(self, at: int) -> Message:
        return read(rest_of_page(self._system, at), registered=False)
