"""OP-TEE as a trusted OS below EL3: what reaches it for which VM, and what it asks that for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.optee import message as wire
from ffabric.abi.optee import rpc, smc
from ffabric.abi.optee.message import Message, Tmem
from ffabric.abi.words import MASK32, PAGE, join, pages_for
from ffabric.firmware.state.events import Enter
from ffabric.lab.invariants.optee.account import Account, Asked
from ffabric.lab.invariants.optee.messages import read, rest_of_page
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.oracle.tables import Tables
from ffabric.machine.events import Call, Return
from ffabric.machine.translation.descriptors import ADDRESS, S2AP_W, VALID

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import Partition
    from ffabric.system.system import System

_MOST_PAGES: Final = 1 << 14
"""Pages of a buffer that are looked at."""


class BelowEl3:
    """OP-TEE as a trusted OS below EL3: a7 says for whom it is entered."""

    def __init__(self, system: System, account: Callable[[int], Account]) -> None:
        self._system = system
        self._account = account
        hypervisor = system.firmware.hypervisor
        self._on = hypervisor is not None and hypervisor.mediator is not None
        self._tables = Tables(system) if self._on else None
        self._calling: dict[int, str] = {}
        """By PE: the VM that has called OP-TEE last, and has not gone on."""
        self._inside: dict[int, Asked] = {}
        """By PE: the call that OP-TEE executes."""

    def called(self, event: Call) -> None:
        """A VM calls OP-TEE, or OP-TEE has done with a call."""
        if not self._on:
            return
        function = event.x[0] & MASK32
        if function in (smc.CALL_WITH_ARG, smc.RETURN_FROM_RPC):
            self._calling[event.pe] = event.endpoint
        elif function == smc.RETURN_CALL_DONE and event.pe in self._inside:
            self._leaves(self._inside.pop(event.pe), event.x)

    def returned(self, event: Return) -> None:
        """A VM goes on."""
        if self._calling.get(event.pe) == event.endpoint:
            del self._calling[event.pe]

    def enters(self, event: Enter) -> None:
        """OP-TEE is entered for a VM."""
        x = event.x
        function, client = x[0] & MASK32, x[7] & MASK32
        if not self._on or event.vector != "yielding":
            return
        account = self._account(client)
        caller = self._calling.get(event.pe, account.vm)
        if caller != account.vm:
            raise Discrepancy(f"OP-TEE is entered for {account.vm}, and {caller} has called")
        if function == smc.CALL_WITH_ARG:
            at = join(x[2], x[1])
            self._judge_hidden(account, at)
            message = self._parsed(at)
            self._judge_addresses(account, message)
            self._inside[event.pe] = account.begins(message, at)
        elif function == smc.RETURN_FROM_RPC:
            asked = account.threads.pop(x[3] & MASK32, None)
            if asked is None:
                raise Discrepancy(f"{account.vm} resumes thread {x[3]:#x}, which is not its own")
            self._inside[event.pe] = asked
            self._served(asked, x)

    def _served(self, asked: Asked, x: Sequence[int]) -> None:
        """An RPC is over: the VM may have given a page for messages, or memory."""
        account, at = asked.account, join(x[2], x[1])
        if asked.rpc == smc.Rpc.ALLOC and at:
            self._judge_hidden(account, at)
            account.messages[join(x[5], x[4])] = at
        answer = self._parsed(asked.rpc_message) if asked.rpc == smc.Rpc.CMD else None
        if answer is not None and answer.command == rpc.Command.SHM_ALLOC and not answer.ret:
            self._judge_addresses(account, answer)
            account.given(answer)

    def _leaves(self, asked: Asked, x: Sequence[int]) -> None:
        """OP-TEE answers with a0 to a3 in ``x`` 1 to 4, or asks the VM for something."""
        account, result = asked.account, x[1] & MASK32
        if not smc.is_rpc(result):
            if result == smc.Return.OK:
                account.ends(asked, self._parsed(asked.at))
            return
        account.threads[x[4] & MASK32] = asked
        asked.rpc, cookie = result, join(x[3], x[2])
        if result not in (smc.Rpc.CMD, smc.Rpc.FREE):
            return
        if cookie not in account.messages:
            raise Discrepancy(f"OP-TEE names memory {cookie:#x} to {account.vm}, which gave none")
        if result == smc.Rpc.FREE:
            del account.messages[cookie]
            return
        asked.rpc_message = account.messages[cookie]
        account.shows(self._parsed(asked.rpc_message))

    def _parsed(self, at: int) -> Message:
        return read(rest_of_page(self._system, at), registered=True)

    def _judge_hidden(self, account: Account, at: int) -> None:
        for name in self._who_reaches(at):
            raise Discrepancy(f"{name} reaches a message of {account.vm} that OP-TEE reads")

    def _judge_addresses(self, account: Account, message: Message) -> None:
        for param in message.params:
            if isinstance(param, Tmem) and param.size:
                for page in self._pages(account, param):
                    holders = self._who_reaches(page)
                    if holders != [account.vm]:
                        whose = " and ".join(holders) or "nobody"
                        raise Discrepancy(
                            f"{account.vm} gives OP-TEE the page {page:#x}, which {whose} reaches"
                        )

    def _pages(self, account: Account, param: Tmem) -> Iterator[int]:
        """The physical pages of a buffer. Raises Discrepancy if its page list is none."""
        offset = param.address % PAGE
        count = min(pages_for(offset + param.size), _MOST_PAGES)
        first = param.address - offset
        if not param.attributes & wire.NONCONTIG:
            yield from range(first, first + count * PAGE, PAGE)
            return
        while count > 0:
            try:
                entries, first = wire.parse_list_page(rest_of_page(self._system, first), count)
            except DecodeError as error:
                raise Discrepancy(f"{account.vm} gives OP-TEE what is no {error}") from error
            yield from entries
            count -= len(entries)

    def _who_reaches(self, pa: int) -> list[str]:
        """The VMs whose tables let them write the page at ``pa``."""
        tables, page = self._tables, pa & -PAGE
        assert tables is not None
        there: dict[Partition, str] = {
            each.partition: name
            for name, each in self._system.endpoints.items()
            if not each.spec.secure and each.partition.stage2 is not None
        }
        for partition in [each for each in tables.reaches if each not in there]:
            tables.remove(partition)
        for partition in there:
            if partition not in tables.reaches:
                tables.add(partition)
        tables.look()
        return [
            name
            for partition, name in there.items()
            for _, pages, leaf in tables.reaches[partition].runs()
            if leaf & VALID and leaf & S2AP_W and 0 <= page - (leaf & ADDRESS) < pages * PAGE
        ]
