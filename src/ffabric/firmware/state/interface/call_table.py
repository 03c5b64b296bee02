"""The calls that an FF-A instance offers, and what each of them lets its registers hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NoReturn, TypeVar, cast

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.functions import FFA_VERSION, FUNCTIONS, Instance
from ffabric.abi.ffa.reserved import Stray, stray
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import LATEST, VERSIONS
from ffabric.firmware.state.rules import refuse, rule

TOO_NEW = rule(
    "abi.newer_than_negotiated",
    Status.NOT_SUPPORTED,
    "DEN0077A 1.2, section 13.2",
    "The function exists in the version of the Framework that the caller negotiated.",
)

WIDE_FORMS = {
    fid.FFA_ERROR_64: fid.FFA_ERROR,
    fid.FFA_MSG_WAIT_64: fid.FFA_MSG_WAIT,
    fid.FFA_RUN_64: fid.FFA_RUN,
    fid.FFA_YIELD_64: fid.FFA_YIELD,
}
"""Calls of 64 bits that came with v1.3 -> those of 32 bits, which they are in all but the id."""

AnyHandler = TypeVar("AnyHandler", bound=Callable[..., object])
Entry = tuple[AnyHandler, bool, Stray | None]
"""Who handles a call, whether the call ends the negotiation of the version, and what finds bits in
its registers that it does not define (None: it defines all)."""


class Entries(dict[int, Entry[AnyHandler]]):
    """The calls of an instance in one version: function ID -> `Entry`."""

    def __deepcopy__(self, memo: dict[int, object]) -> Entries[AnyHandler]:
        """Itself: entries do not change."""
        return self


class CallTable(Generic[AnyHandler]):
    """The handlers of one FF-A instance, by function ID.

    It offers those of ``rooms`` that the specification lets a caller make ``at`` the instance, but
    for ``without``; and ``always``, whatever it says. FFA_FEATURES answers from the same table.
    Calls ``for_older`` are answered to callers of a version that does not define them, too, though
    FFA_FEATURES does not tell of them.
    """

    def __init__(
        self,
        *rooms: Mapping[int, AnyHandler],
        at: Instance | None = None,
        without: frozenset[int] = frozenset(),
        for_older: frozenset[int] = frozenset(),
        always: Mapping[int, AnyHandler] | None = None,
    ) -> None:
        self.at = at
        self.virtual = at is not Instance.NS_PHYSICAL
        """Whether fields that a hypervisor fills are reserved here."""
        self.for_older = for_older
        self.handlers = {
            function: handler
            for room in rooms
            for function, handler in room.items()
            if function not in without and _may_be_called(function, at)
        } | dict(always or {})
        for wide, narrow in WIDE_FORMS.items():
            if narrow in self.handlers:
                self.handlers[wide] = _narrowed(narrow, self.handlers[narrow])
        self._in_version: dict[int, Entries[AnyHandler]] = {}

    def __contains__(self, function: object) -> bool:
        return function in self.handlers

    def changed(
        self, *, without: frozenset[int], for_older: frozenset[int]
    ) -> CallTable[AnyHandler]:
        """This instance without some calls, and with more that older callers may make."""
        without |= WIDE_FORMS.keys()
        offered = {each: how for each, how in self.handlers.items() if each not in without}
        return CallTable(at=self.at, for_older=self.for_older | for_older, always=offered)

    def __deepcopy__(self, memo: dict[int, object]) -> CallTable[AnyHandler]:
        """Itself: a table does not change."""
        return self

    def in_version(self, version: int) -> Entries[AnyHandler]:
        """What there is in a version of the Framework; made for who asks first."""
        entries = self._in_version.get(version)
        if entries is None:
            if version not in VERSIONS:
                raise KeyError(version)
            entries = self._in_version[version] = self._entries(version)
        return entries

    def offers(self, function: int, version: int) -> bool:
        """Whether a caller at `version` may use `function` at this instance."""
        known = FUNCTIONS.get(function)
        return function in self.handlers and (known is None or known.since <= version)

    def _entries(self, version: int) -> Entries[AnyHandler]:
        entries: Entries[AnyHandler] = Entries()
        for function, handler in self.handlers.items():
            known = None if function == FFA_VERSION else FUNCTIONS.get(function)
            finder = self._finder(entries, function, version)
            entry: Entry[Any] = (handler, known is not None, finder)
            if known is not None and known.since > version and function not in self.for_older:
                entry = (_too_new(known.since, version), True, None)
            entries[function] = entry
        return entries

    def _finder(self, entries: Entries[AnyHandler], function: int, version: int) -> Stray:
        """Look for stray bits in the first such call; a function is made for those after it."""

        def first(x: Sequence[int]) -> int:
            handler, ends_negotiation, _ = entries[function]
            found = stray(function, layout_version(function, version), virtual=self.virtual)
            entries[function] = (handler, ends_negotiation, found)
            return 0 if found is None else found(x)

        return first


def layout_version(function: int, version: int) -> int:
    """The version whose layout the registers of a call have that a caller at `version` makes.

    It is the caller's own, or that of the call, if it is answered to callers of older ones. Of
    FFA_VERSION it is the latest: no version has been agreed on.
    """
    if function == FFA_VERSION:
        return LATEST
    known = FUNCTIONS.get(function)
    return version if known is None else max(version, known.since)


def _narrowed(function: int, handler: AnyHandler) -> AnyHandler:
    """What handles the call of 64 bits: `handler` finds the one of 32 bits."""

    def call(manager: object, pe: object, caller: Any) -> object:
        caller.x[0] = function
        return handler(manager, pe, caller)

    return cast("AnyHandler", call)


def _too_new(since: int, version: int) -> Callable[..., NoReturn]:
    def handler(*_call: object) -> NoReturn:
        refuse(TOO_NEW, got=since, expected=version)

    return handler


def _may_be_called(function: int, at: Instance | None) -> bool:
    known = FUNCTIONS.get(function)
    return at is None or known is None or at in known.called_at
