"""Hostile software that has the images of SPs replaced (Live Firmware Activation, DEN0147)."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

from ffabric.abi import lfa
from ffabric.firmware.state.context import State
from ffabric.lab.fuzz.calls.registers import BOUNDARIES
from ffabric.system.booting.activation import NotActivatable, stage

if TYPE_CHECKING:
    from ffabric.lab.fuzz.stage import Stage

_CALLS = (lfa.LFA_PRIME, lfa.LFA_ACTIVATE, lfa.LFA_PRIME, lfa.LFA_ACTIVATE, *lfa.FUNCTIONS)


class Activation:
    """The agent of a ``stage``, as the host sees it."""

    def __init__(self, random: Random, of: Stage) -> None:
        self._random, self._stage = random, of
        self._names = [
            each.name for each in of.system.spec.sps if each.manifest.live_activation_support
        ]

    def calls(self) -> list[list[int]]:
        """Calls of the agent's: a whole activation, of an SP that waits, or any one.

        PEs do not wait for each other: one might for ever.
        """
        random = self._random
        number = random.randrange(len(self._names))
        if random.random() < 0.5:
            self._offer(number)
            self._let_wait(number)
            return [[lfa.LFA_PRIME, number], [lfa.LFA_ACTIVATE, number, lfa.SKIP_RENDEZVOUS]]
        if random.random() < 0.5:
            self._offer(number)
        component = number if random.random() < 0.8 else self._value()
        return [[random.choice(_CALLS), component, self._value() | lfa.SKIP_RENDEZVOUS]]

    def _offer(self, number: int) -> None:
        """A new image is there for an SP: its own, anew; not while it is being activated."""
        name = self._names[number]
        endpoint = self._stage.system.endpoints[name]
        with suppress(NotActivatable):
            stage(self._stage.system, name, endpoint.spec.source)

    def _let_wait(self, number: int) -> None:
        for actor in self._stage.actors:
            is_it = actor.endpoint.name == self._names[number]
            if is_it and actor.ctx.state is not State.WAITING and actor.ready():
                actor.give_back()

    def _value(self) -> int:
        return self._random.choice(BOUNDARIES)
