"""Expecting a refusal: one verb, for a test, for a system, for every system that is open."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from ffabric.firmware.state.rules import RULES
from ffabric.guests.errors import FfaError
from ffabric.system.options.problems import did_you_mean


class NotRefused(AssertionError):  # noqa: N818 - what an assertion says
    """A block that should have been refused by a rule was not."""

    __module__ = "ffabric.testing"


class Expected(AbstractContextManager[None]):
    """Expect that a rule refuses a call in the block, by the growth of ``counts``.

    The FfaError of the refusal is expected, too. Raises ValueError for a rule that there is not,
    NotRefused if another rule refused, or none.
    """

    def __init__(self, counts: Callable[[], dict[str, int]], rule_id: str) -> None:
        if rule_id not in RULES:
            _load_all_rules()
        if rule_id not in RULES:
            known = [rule.id for rule in RULES]
            raise ValueError(f"there is no rule {rule_id!r}{did_you_mean(rule_id, known)}")
        self._counts = counts
        self._rule_id = rule_id
        self._before: dict[str, int] = {}

    def __enter__(self) -> None:
        self._before = self._counts()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is not None and not isinstance(error, FfaError):
            return False
        before, after = self._before, self._counts()
        if after.get(self._rule_id, 0) > before.get(self._rule_id, 0):
            return True
        others = [each for each in after if after[each] > before.get(each, 0)]
        if others:
            raise NotRefused(f"refused by {', '.join(others)}, not by {self._rule_id}") from error
        if error is not None:
            return False
        raise NotRefused(f"{self._rule_id} refused nothing: the calls succeeded")


def _load_all_rules() -> None:
    """Load all of the firmware: rules of what no system has needed yet are rules, too."""
    importlib.import_module("ffabric.firmware.catalogue")
