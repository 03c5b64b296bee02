"""Isolation between VMs in a virtualized OP-TEE, judged where the calls of VMs reach it.

What a VM has there is its *account*: sessions, memory, threads. What OP-TEE is asked for a VM, and
what it answers, is compared with the account of that VM alone: a call that succeeds with what is
in no account of its own is another's, or nobody's. The registers of its calls and the messages in
memory say all of these but the last; nothing is asked of OP-TEE, nor of the mediator, so that it
may be a real one.

========= ==========================================================================================
a VM's    which VM it is, is for whoever tells OP-TEE to say
========= ==========================================================================================
sessions  only who has opened a session invokes it or closes it
memory    only who has shared or registered memory, or given it in answer to an RPC, names it in a
          call that succeeds; RPCs of its calls name such memory alone
threads   only who has begun a call resumes it
messages  (SMC) OP-TEE reads them where no VM reaches them; each address in them is of memory of
          that VM, which no other VM reaches; RPCs are where that VM has given memory for them
TAs       (an OP-TEE in Python) what its TAs keep for it; see `contents.py`
========= ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.flags import FRAMEWORK_MESSAGE
from ffabric.abi.optee import ffa, rpc, smc
from ffabric.abi.optee import message as wire
from ffabric.abi.optee.message import Command, Fmem, Message, Rmem, Tmem, Value
from ffabric.abi.words import MASK32, PAGE, join, pages_for, unpack_ids
from ffabric.firmware.state.events import Enter, VmCreated
from ffabric.lab.invariants.contents import Contents
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.oracle.tables import Tables
from ffabric.machine.events import Call, Event, Return
from ffabric.machine.memory import MemoryFault
from ffabric.machine.translation.descriptors import ADDRESS, S2AP_W, VALID

if TYPE_CHECKING:
    from ffabric.firmware.state.partition import Partition
    from ffabric.system.system import System

_REQUESTS: Final = frozenset({fid.FFA_MSG_SEND_DIRECT_REQ_32, fid.FFA_MSG_SEND_DIRECT_REQ_64})
_RESPONSES: Final = frozenset({fid.FFA_MSG_SEND_DIRECT_RESP_32, fid.FFA_MSG_SEND_DIRECT_RESP_64})
_NEEDS_SESSION: Final = frozenset({Command.INVOKE_COMMAND, Command.CLOSE_SESSION})
_NOTHING: Final = MASK32
"""The command, and the result, of what is no message."""
_MOST_PAGES: Final = 1 << 14
"""Pages of a buffer that are looked at."""


class Asked:
    """A call of a VM that is under way: its message, and where that is."""

    def __init__(self, account: Account, message: Message, at: int, *, known: bool) -> None:
        self.account = account
        self.message = message
        self.at = at
        """Physical address."""
        self.known = known
        """Whether the account had what it names when it was made."""
        self.rpc = 0
        """What OP-TEE has asked the VM for last, 0: nothing."""
        self.rpc_message = 0
        """Where its message for the VM is (physical address)."""


class Account:
    """What a VM has in OP-TEE, as its calls and their answers say."""

    def __init__(self, vm: str) -> None:
        self.vm = vm
        self.sessions: set[int] = set()
        self.memory: set[int] = set()
        """References and handles of memory that it has shared, registered, or given."""
        self.threads: dict[int, Asked] = {}
        """Calls that wait for the VM."""
        self.messages: dict[int, int] = {}
        """By cookie: where OP-TEE writes the messages of RPCs (physical address)."""

    def begins(self, message: Message, at: int) -> Asked:
        """The VM has asked."""
        return Asked(self, message, at, known=not self.lacks(message))

    def ends(self, asked: Asked, answer: Message) -> None:
        """OP-TEE has answered. Raises Discrepancy."""
        message = asked.message
        lacks = self.lacks(message)
        if not answer.ret and lacks and not asked.known:
            raise Discrepancy(f"{self.vm} has used {lacks} in OP-TEE, which it does not have")
        if answer.ret:
            return
        first = message.params[0] if message.params else None
        if message.command == Command.OPEN_SESSION:
            self.sessions.add(answer.session)
        elif message.command == Command.CLOSE_SESSION:
            self.sessions.discard(message.session)
        elif message.command == Command.REGISTER_SHM and isinstance(first, Tmem):
            self.memory.add(first.reference)
        elif message.command == Command.UNREGISTER_SHM and isinstance(first, Rmem):
            self.memory.discard(first.reference)

    def lacks(self, message: Message) -> str:
        """What a call names that is not in this account; nothing if all is."""
        if message.command in _NEEDS_SESSION and message.session not in self.sessions:
            return f"session {message.session:#x}"
        if message.command == Command.UNREGISTER_SHM:
            return ""  # of nothing, perhaps: whose memory that was has it still
        return self._foreign(message)

    def shows(self, request: Message) -> None:
        """OP-TEE asks the VM for something. Raises Discrepancy."""
        foreign = self._foreign(request)
        first = request.params[0] if request.params else None
        if request.command == rpc.Command.SHM_FREE and isinstance(first, Value):
            if first.b not in self.memory:
                foreign = f"memory {first.b:#x}"
            self.memory.discard(first.b)
        if foreign:
            raise Discrepancy(f"OP-TEE asks {self.vm} for {foreign}, which it does not have")

    def given(self, answer: Message) -> None:
        """The VM has served SHM_ALLOC."""
        first = answer.params[0] if answer.params else None
        if isinstance(first, Tmem):
            self.memory.add(first.reference)

    def _foreign(self, message: Message) -> str:
        for param in message.params:
            if isinstance(param, Rmem) and param.size and param.reference not in self.memory:
                return f"memory {param.reference:#x}"
            known = isinstance(param, Fmem) and param.handle in (wire.NO_HANDLE, *self.memory)
            if isinstance(param, Fmem) and param.size and not known:
                return f"memory {param.handle:#x}"
        return ""


def _rest(system: System, at: int) -> bytes:
    """What is in a page from a physical address on; nothing where there is no such memory."""
    try:
        return system.machine.memory.read(at, PAGE - at % PAGE, secure=False)
    except MemoryFault:
        return b""


def _read(data: bytes, *, registered: bool) -> Message:
    """A message as far as it is one: at worst an empty one, which OP-TEE serves for nobody."""
    try:
        return wire.parse_message(data, registered=registered)
    except DecodeError:
        pass
    try:
        head = wire.parse_header(data)
    except DecodeError:
        return Message(_NOTHING, ret=_NOTHING)
    return Message(head.command, head.function, head.session, head.cancel_id, head.ret)


class OpTeeIsolation:
    """What a VM has in a virtualized OP-TEE is nothing to another VM; see `Account`."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._accounts: dict[int, Account] = {}
        self._contents = Contents(system, lambda vm: self._account(vm).vm)
        self._smc = _Smc(system, self._account)
        self._ffa = _Ffa(system, self._account)

    def _account(self, vm: int) -> Account:
        found = self._accounts.get(vm)
        if found is None:
            names = [name for name, each in self._system.endpoints.items() if each.id == vm]
            found = self._accounts[vm] = Account(names[0] if names else f"VM {vm:#x}")
        return found

    def hear(self, event: Event) -> None:
        """Judge what reaches OP-TEE and what leaves it. Raises Discrepancy."""
        if isinstance(event, Enter):
            self._smc.enters(event)
        elif isinstance(event, Call):
            self._smc.called(event)
            self._ffa.called(event)
            self._contents.called(event)
        elif isinstance(event, Return):
            self._smc.returned(event)
            self._ffa.returned(event)
        elif isinstance(event, VmCreated):
            self._accounts.pop(event.endpoint, None)

    def look(self) -> None:
        """All is judged as it is heard."""


class _Smc:
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
        return _read(_rest(self._system, at), registered=True)

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
                entries, first = wire.parse_list_page(_rest(self._system, first), count)
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


class _Ffa:
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
        return _read(_rest(self._system, at), registered=False)
