"""A partition that has crashed: who, why, and where in whose code."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from types import TracebackType

from ffabric.system.options.problems import did_you_mean

_OURS = str(Path(__file__).parents[1]) + os.sep
_JUDGES = tuple(
    _OURS + os.sep.join(("guests", *each))
    for each in (("partition.py",), ("calls", "both_ways.py"))
)
"""Files that say what is wrong with a partition, with its place: their own is no news."""


class PartitionCrashed(RuntimeError):  # noqa: N818 - what happened
    """A partition crashed, and the system stops then (``stop_on_crash``).

    `name` is the partition's, `reason` is why in a line, `where` in which file and line, if it is a
    partition in Python. `wedged`: it computed and made no call any more. What its code raised is
    the exception's cause, with the traceback from that code on.
    """

    __module__ = "ffabric.testing"

    def __init__(
        self, name: str, reason: str, cause: BaseException | None = None, *, wedged: bool = False
    ) -> None:
        self.name = name
        self.wedged = wedged
        self.reason: str = reason + _meant(cause)
        self.where: str = ""
        if cause is not None:
            self.__cause__: BaseException | None = cause.with_traceback(
                _of_the_user(cause.__traceback__)
            )
            self.where = _where(cause.__traceback__)
        super().__init__(f"{name}: {self.told}")

    @property
    def told(self) -> str:
        """Why it crashed, and where."""
        return f"{self.reason} ({self.where})" if self.where else self.reason

    @property
    def traceback(self) -> list[str]:
        """The lines of the partition's own code that led to the crash, as Python shows them."""
        if self.__cause__ is None:
            return []
        frames = traceback.extract_tb(self.__cause__.__traceback__)
        shown = traceback.format_list([each for each in frames if not _is_ours(each.filename)])
        return "".join(shown).splitlines()

    def report(self) -> str:
        """Who crashed, why and where, and the lines of its own code that led there."""
        return "\n".join([f"{self.name}: {self.told}", *self.traceback])


def _is_ours(filename: str) -> bool:
    return filename.startswith(_OURS)


def _of_the_user(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame on that is not ffabric's; all of it if there is none."""
    at = trace
    while at is not None and _is_ours(at.tb_frame.f_code.co_filename):
        at = at.tb_next
    return at or trace


def _meant(cause: BaseException | None) -> str:
    """The name that may have been meant for one that an object does not have."""
    if not isinstance(cause, AttributeError) or cause.obj is None:
        return ""
    known = {name for kind in type(cause.obj).__mro__ for name in vars(kind)}
    return did_you_mean(cause.name, [name for name in known if not name.startswith("_")])


def _where(trace: TracebackType | None) -> str:
    """The place of the last frame that is not ffabric's; else of the last one, if it is news."""
    frames = traceback.extract_tb(trace)
    theirs = [each for each in frames if not _is_ours(each.filename)] or frames
    if not theirs or theirs[-1].filename in _JUDGES:
        return ""
    last = theirs[-1]
    return f"{shortened(last.filename)}:{last.lineno}, in {last.name}"


def shortened(filename: str) -> str:
    """The path of a file, relative to the current folder if it is in there."""
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return filename
