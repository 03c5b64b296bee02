"""Why tests do not pass where that is known: a table, and the rows that hold for a test."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ffabric.lab.acs.build import Build


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row: `tests` are patterns; what is None or empty holds for every run.

    `by` is what the reason lies in: the suite, the specification, or the platform.
    """

    tests: tuple[str, ...]
    by: str
    text: str
    hypervisor: bool | None = None
    sp_el: str | None = None
    spmc_el: str | None = None
    per_vcpu: bool | None = None
    form: tuple[str, ...] = ()
    personality: str | None = None

    def holds(self, test: str, build: Build, form: str, personality: Sequence[str]) -> bool:
        """Whether it is why ``test`` does not pass in a run of that form."""
        sp_el = build.options.get("PLATFORM_SP_EL", "1")
        spmc_el = build.options.get("PLATFORM_SPMC_EL", "2")
        return (
            any(fnmatchcase(test, pattern) for pattern in self.tests)
            and self.hypervisor in (None, build.hypervisor)
            and self.sp_el in (None, sp_el)
            and self.spmc_el in (None, spmc_el)
            and self.per_vcpu in (None, build.per_vcpu)
            and (not self.form or form in self.form)
            and (self.personality is None or self.personality in personality)
        )


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: tuple[Reason, ...]


@cache
def known() -> tuple[Reason, ...]:
    """All rows."""
    path = resources.files(__package__) / "reasons.toml"
    return msgspec.toml.decode(path.read_bytes(), type=_Table).reason
