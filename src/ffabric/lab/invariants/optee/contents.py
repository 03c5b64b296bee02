"""What TAs keep for a VM in an OP-TEE in Python: no object of it is another VM's, too.

The memory of a TA is Python objects: its instance, and what it hangs on its sessions. Each VM has
instances and sessions of its own, so what can be changed and is reached from those of two VMs has
been shared behind OP-TEE's back: by a variable of a module, or by a default argument. What stands
in the class of a TA is there for all VMs: that must not change at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from ffabric.guests.optee.nexus import Nexus
from ffabric.guests.optee.tas.ta import TrustedApp
from ffabric.lab.oracle.address_spaces import Discrepancy

if TYPE_CHECKING:
    from collections.abc import Callable

    from ffabric.machine.events import Call
    from ffabric.system.system import System

_CONTAINERS: Final = (list, set, deque, tuple, frozenset)
_CHANGEABLE: Final = (dict, list, set, deque, bytearray)
_OURS: Final = "ffabric."


class Contents:
    """Judges what the TAs of a system's OP-TEE keep; ``name`` gives the name of a VM by its id."""

    def __init__(self, system: System, name: Callable[[int], str]) -> None:
        self._name = name
        self._cores: dict[str, Nexus] = {}
        for endpoint, each in system.endpoints.items():
            if isinstance(each.software, Nexus):
                self._cores[endpoint] = each.software
        self._classes: dict[type[TrustedApp], dict[str, Any]] = {}
        """What stood in the classes of TAs at first."""
        for core in self._cores.values():
            for app in core.apps:
                self._classes[app] = deepcopy(_variables(app))

    def called(self, event: Call) -> None:
        """If OP-TEE leaves the PE: raise Discrepancy if two VMs share what a TA keeps."""
        core = self._cores.get(event.endpoint)
        if core is None or not core.virtualized:
            return
        self._judge_instances(core)
        for app, before in self._classes.items():
            for name, value in _variables(app).items():
                if name in before and value != before[name]:
                    raise Discrepancy(
                        f"TA {app.uuid} has changed {app.__name__}.{name}, which all VMs share"
                    )

    def _judge_instances(self, core: Nexus) -> None:
        whose: dict[int, int] = {}
        for vm, bank in core.banks.items():
            for uuid, roots in bank.sessions.kept():
                for each in _reached(roots):
                    other = whose.setdefault(id(each), vm)
                    if other != vm:
                        vms = f"{self._name(other)} and {self._name(vm)}"
                        kind = type(each).__name__
                        raise Discrepancy(f"TA {uuid} keeps the same {kind} for {vms}")


def _variables(app: type[TrustedApp]) -> dict[str, Any]:
    """What can be changed in a TA's class."""
    return {
        name: value
        for each in app.__mro__
        if issubclass(each, TrustedApp) and each is not TrustedApp
        for name, value in vars(each).items()
        if isinstance(value, _CHANGEABLE)
    }


def _reached(roots: Iterable[object]) -> Iterator[object]:
    """The objects that can be changed and are reached from TAs and their sessions, but OP-TEE's."""
    seen: set[int] = set()
    left = [*roots]
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, _CHANGEABLE):
            yield each
        if isinstance(each, Mapping):
            left += [*each.keys(), *each.values()]
        elif isinstance(each, _CONTAINERS):
            left += each
        elif _is_of_a_ta(each):
            yield each
            left += vars(each).values()


def _is_of_a_ta(each: object) -> bool:
    """Whether an object is a TA, or of a class that came with one; what is OP-TEE's is none."""
    kind = type(each)
    if isinstance(each, (type, UUID)) or not hasattr(each, "__dict__") or callable(each):
        return False
    return isinstance(each, TrustedApp) or not (kind.__module__ + ".").startswith(_OURS)
