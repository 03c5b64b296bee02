"""A scenario: a small system of partitions, what may happen to it, and what must hold.

It is a Python file with these names:

============== ===================================================================================
name           what it is
============== ===================================================================================
``system``     a function that returns the keywords of `ffabric.boot`: a new system for each
               schedule
``EVENTS``     functions of the system, each of which may be called once, at any call that a
               partition makes once all SPs are initialised, or never
``check``      a function of the system and the names of the events that came, in order: it raises
               AssertionError for what must not be, once nothing can run any more
``INVARIANTS`` names of `ffabric.testing.Invariants`, to be judged in place of the usual ones
============== ===================================================================================

All but ``system`` may be left out. Invariants, crashes and hangs are judged in any case.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ffabric.lab.invariants.invariants import check_names
from ffabric.session.booting import boot
from ffabric.session.system import System
from ffabric.system.options.problems import did_you_mean
from ffabric.system.spec import QEMU

_NAMES = ("system", "EVENTS", "check", "INVARIANTS")


class ScenarioError(ValueError):
    """A file that is no scenario; the message is the line to print."""


class Scenario(NamedTuple):
    """What is explored."""

    path: Path
    system: Callable[[], dict[str, Any]]
    events: Sequence[Callable[[System], object]] = ()
    check: Callable[[System, list[str]], object] | None = None
    invariants: Sequence[str] = ()

    def boot(self) -> System:
        """A new system that has not run yet. Raises ScenarioError if there can be none."""
        try:
            booted = boot(start=False, **self.system())
        except Exception as error:
            raise ScenarioError(
                f"{self.path}: system(): {type(error).__name__}: {_line(error)}"
            ) from error
        outside = [each.name for each in booted.system.spec.partitions if each.engine == QEMU]
        if outside:
            booted.close()
            raise ScenarioError(
                f"{self.path}: QEMU executes {', '.join(outside)} in wall time: none of its "
                "schedules could be made again"
            )
        return booted


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def read_scenario(path: Path) -> Scenario:
    """The scenario in a Python file. Raises ScenarioError, OSError."""
    path = path.resolve()
    if not path.is_file():
        raise FileNotFoundError(2, "No such file", str(path))
    spec = importlib.util.spec_from_file_location(f"_scenario_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ScenarioError(f"{path}: a scenario is a file of Python, *.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ScenarioError(f"{path}: {type(error).__name__}: {_line(error)}") from error
    found = {name: getattr(module, name, None) for name in _NAMES}
    if not callable(found["system"]):
        similar = [name for name in vars(module) if not name.startswith("_")]
        raise ScenarioError(
            f"{path}: there is no function system(){did_you_mean('system', similar)}"
        )
    if found["check"] is not None and not callable(found["check"]):
        raise ScenarioError(f"{path}: check is not a function")
    events = found["EVENTS"] or ()
    if not isinstance(events, list | tuple) or not all(map(callable, events)):
        raise ScenarioError(f"{path}: EVENTS are functions of the system, in a list")
    invariants = found["INVARIANTS"] or ()
    if not isinstance(invariants, list | tuple) or not all(isinstance(n, str) for n in invariants):
        raise ScenarioError(f"{path}: INVARIANTS are names, in a list")
    try:
        check_names(invariants)
    except ValueError as error:
        raise ScenarioError(f"{path}: INVARIANTS: {error}") from None
    return Scenario(path, found["system"], events, found["check"], invariants)
