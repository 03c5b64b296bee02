"""Expecting a refusal: one verb, for a test, for a system, for every system that is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ffabric.firmware.catalogue import RULES
from ffabric.guests.errors import FfaError
from ffabric.system.options.problems import did_you_mean


class NotRefused(AssertionError):  # noqa: N818 - what an assertion says
    """A block that should have been refused by a rule was not."""

    __module__ = "ffabric.testing"


@contextmanager
def refused(counts: Callable[[], dict[str, int]], rule_id: str) -> Iterator[None]:
    """Expect that the rule refuses a call in the block, by the growth of ``counts``.

    The FfaError of the refusal is expected, too. Raises ValueError for a rule that there is not,
    NotRefused if another rule refused, or none.
    """
    if rule_id not in RULES:
        known = [rule.id for rule in RULES]
        raise ValueError(f"there is no rule {rule_id!r}{did_you_mean(rule_id, known)}")
    before = counts()
    error: FfaError | None = None
    try:
        yield
    except FfaError as caught:
        error = caught
    after = counts()
    if after.get(rule_id, 0) > before.get(rule_id, 0):
        return
    others = [each for each in after if after[each] > before.get(each, 0)]
    if others:
        raise NotRefused(f"refused by {', '.join(others)}, not by {rule_id}") from error
    if error is not None:
        raise error
    raise NotRefused(f"{rule_id} refused nothing: the calls succeeded")
