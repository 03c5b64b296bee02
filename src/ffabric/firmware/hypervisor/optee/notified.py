"""Asynchronous notifications of OP-TEE: one interrupt for all VMs, values for each.

OP-TEE raises one SPI, whichever VM it has a value for. A VM must not learn of the others' values,
not even that there are any; so the mediator takes the interrupt and asks OP-TEE for the values of
each VM that has enabled them (GET_ASYNC_NOTIF_VALUE in the VM's name). A VM for which there are any
gets the interrupt, and its own calls of GET_ASYNC_NOTIF_VALUE are answered with what was found::

    OP-TEE --SPI--> collect: for each VM, ask until there is none --virtual SPI--> VM asks us

Values are numbers below 64, each of which is there or not: what nobody fetches does not pile up.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from ffabric.abi.optee import smc
from ffabric.abi.optee.rpc import ASYNC_VALUE_MAX
from ffabric.abi.words import MASK32
from ffabric.firmware.hypervisor import interrupts
from ffabric.firmware.hypervisor.spmc_link import sequences

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.hypervisor import Hypervisor, Steps
    from ffabric.firmware.hypervisor.optee.client import Client
    from ffabric.machine.context import PE


class Notified:
    """The interrupt ``intid`` of OP-TEE, and who is to hear of it."""

    def __init__(self, hypervisor: Hypervisor, clients: dict[int, Client], intid: int) -> None:
        self.intid = intid
        self._hypervisor = hypervisor
        self._clients = clients
        self._is_due = False
        """Values are about to be collected."""

    def interrupted(self) -> None:
        """OP-TEE has raised the interrupt; as soon as a PE is free for it, values are collected."""
        if not self._is_due:
            self._is_due = True
            sequences.defer(self._hypervisor, self._collect)

    def _collect(self, pe: PE) -> Steps:
        self._is_due = False
        for client in [each for each in self._clients.values() if each.notified]:
            found = yield from _values(client)
            vm = client.guest.vm
            client.values |= found
            if found and vm.alive:
                interrupts.inject(self._hypervisor, vm, self.intid)


def _values(client: Client) -> Generator[list[int], list[int], int]:
    """Ask OP-TEE for the values of a VM until it has no more: their bits."""
    found = 0
    for _ in range(ASYNC_VALUE_MAX + 1):  # who sends for ever is asked again at its next interrupt
        a0, value, flags, *_ = yield from client.ask([smc.GET_ASYNC_NOTIF_VALUE])
        if a0 & MASK32 != smc.Return.OK or not flags & smc.ASYNC_NOTIF_VALID:
            break
        found |= 1 << (value & ASYNC_VALUE_MAX)
    return found


def next_value(values: int) -> tuple[int, tuple[int, int]]:
    """Of ``values`` those that are left, and a1 and a2 of GET_ASYNC_NOTIF_VALUE."""
    if not values:
        return 0, (0, 0)
    lowest = (values & -values).bit_length() - 1
    values &= values - 1
    more = smc.ASYNC_NOTIF_PENDING if values else 0
    return values, (lowest, smc.ASYNC_NOTIF_VALID | more)
