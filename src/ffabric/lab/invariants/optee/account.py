"""What a VM has in OP-TEE, as its calls and their answers say: sessions, memory, threads."""

from __future__ import annotations

from typing import Final

from ffabric.abi.optee import message as wire
from ffabric.abi.optee import rpc
from ffabric.abi.optee.message import Command, Fmem, Message, Rmem, Tmem, Value
from ffabric.lab.oracle.address_spaces import Discrepancy

_NEEDS_SESSION: Final = frozenset({Command.INVOKE_COMMAND, Command.CLOSE_SESSION})
_USES_NO_MEMORY: Final = frozenset(
    {Command.UNREGISTER_SHM, Command.DO_BOTTOM_HALF, Command.STOP_ASYNC_NOTIF}
)
"""Calls that succeed whatever memory they name: of nothing, perhaps; who has it has it still."""


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
        return "" if message.command in _USES_NO_MEMORY else self._foreign(message)

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
