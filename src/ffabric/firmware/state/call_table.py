"""The calls that an FF-A instance offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from ffabric.abi.ffa.functions import FFA_VERSION, FUNCTIONS, Instance

AnyHandler = TypeVar("AnyHandler", bound=Callable[..., object])


class CallTable(Generic[AnyHandler]):
    """The handlers of one FF-A instance, by function ID.

    It offers those of ``rooms`` that the specification lets a caller make ``at`` the instance, but
    for ``without``; and ``besides``, whatever it says. FFA_FEATURES answers from the same table.

    Beside each stands the first version of the Framework that has the function. It is 0 for what is
    not subject to negotiation and does not end it: FFA_VERSION itself, and what is not of FF-A.
    """

    def __init__(
        self,
        *rooms: Mapping[int, AnyHandler],
        at: Instance | None = None,
        without: frozenset[int] = frozenset(),
        besides: Mapping[int, AnyHandler] | None = None,
    ) -> None:
        self.entries: dict[int, tuple[AnyHandler, int]] = {}
        for room in rooms:
            for function, handler in room.items():
                if function not in without and _may_be_called(function, at):
                    self._add(function, handler)
        for function, handler in (besides or {}).items():
            self._add(function, handler)

    def _add(self, function: int, handler: AnyHandler) -> None:
        known = None if function == FFA_VERSION else FUNCTIONS.get(function)
        self.entries[function] = (handler, known.since if known else 0)

    def __contains__(self, function: object) -> bool:
        return function in self.entries

    def offers(self, function: int, version: int) -> bool:
        """Whether a caller at `version` may use `function` at this instance."""
        entry = self.entries.get(function)
        return entry is not None and entry[1] <= version


def _may_be_called(function: int, at: Instance | None) -> bool:
    known = FUNCTIONS.get(function)
    return at is None or known is None or at in known.called_at
