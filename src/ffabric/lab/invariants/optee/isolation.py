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

from typing import TYPE_CHECKING

from ffabric.firmware.state.events import Enter, VmCreated
from ffabric.lab.invariants.optee.account import Account
from ffabric.lab.invariants.optee.as_sp import AsSp
from ffabric.lab.invariants.optee.below_el3 import BelowEl3
from ffabric.lab.invariants.optee.contents import Contents
from ffabric.machine.events import Call, Event, Return

if TYPE_CHECKING:
    from ffabric.system.system import System


class OpTeeIsolation:
    """What a VM has in a virtualized OP-TEE is nothing to another VM; see `Account`."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._accounts: dict[int, Account] = {}
        self._contents = Contents(system, lambda vm: self._account(vm).vm)
        self._smc = BelowEl3(system, self._account)
        self._ffa = AsSp(system, self._account)

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
