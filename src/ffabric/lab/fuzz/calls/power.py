"""A kernel that turns its PEs off and on and suspends them, and SPs that may deny it."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from ffabric.abi import psci
from ffabric.abi.ffa.flags import FRAMEWORK_MESSAGE
from ffabric.abi.ffa.framework import PSCI_RESPONSE, RESPONSES
from ffabric.abi.words import MASK32

if TYPE_CHECKING:
    from ffabric.lab.fuzz.actors import Actor
    from ffabric.machine.machine import Machine

_ANSWERS = (*[psci.Return.SUCCESS] * 4, psci.Return.DENIED, psci.Return.INTERNAL_FAILURE)


class Powers:
    """Calls about the power of a ``machine``'s PEs. The first PE is never turned off."""

    def __init__(self, random: Random, machine: Machine) -> None:
        self._random, self._machine = random, machine

    def call(self, actor: Actor) -> list[int] | None:
        """One of a kernel's, or the answer of an SP that is told of one; None: there is none."""
        if actor.secure:
            return self._answer(actor)
        calls = [
            [psci.CPU_ON_64, self._random.choice(self._machine.pes).mpidr, actor.entry],
            [psci.CPU_SUSPEND_64, self._random.choice((0, 0, 0, 1, 1 << 16))],
        ]
        if actor.ctx.index:
            calls.append([psci.CPU_OFF, self._random.getrandbits(64)])
        return self._random.choice(calls)

    def _answer(self, actor: Actor) -> list[int] | None:
        told = actor.serves and RESPONSES.get(actor.ctx.framework)
        if told != FRAMEWORK_MESSAGE | PSCI_RESPONSE:
            return None
        return [*actor.response[:3], self._random.choice(_ANSWERS) & MASK32]
