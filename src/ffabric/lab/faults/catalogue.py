"""All faults by name, from the folders of their classes."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

from ffabric.lab import faults
from ffabric.lab.faults.fault import Fault
from ffabric.system.options.problems import did_you_mean

CLASSES = {
    "A": "registers and calling conventions",
    "B": "negotiation of versions",
    "C": "layouts by version",
    "D": "bounds, overflow, alignment, overlap",
    "E": "fragments",
    "F": "time of check and time of use",
    "G": "information that leaks",
    "H": "ownership of RX and TX",
    "I": "life cycle and permissions of memory",
    "J": "direct messages and call chains",
    "K": "interrupts, pre-emption, states of vCPUs",
    "L": "notifications",
    "M": "discovery",
    "N": "manifests and boot",
    "O": "virtio-msg and virtqueues",
    "P": "mediation of a hypervisor",
}
"""The classes of the catalogue, by their letters."""


@cache
def all_faults() -> dict[str, Fault]:
    """Every fault by its name, in the order of classes and names."""
    found: dict[str, Fault] = {}
    for folder in _modules(faults):
        if folder.ispkg:
            package = import_module(f"{faults.__name__}.{folder.name}")
            for each in _modules(package):
                fault: Fault = import_module(f"{package.__name__}.{each.name}").FAULT
                found[fault.name] = fault
    return found


def find(name: str) -> Fault:
    """The fault called ``name``. Raises LookupError if there is none."""
    known = all_faults()
    if name not in known:
        raise LookupError(f"there is no fault {name!r}{did_you_mean(name, known)}")
    return known[name]


def _modules(package: ModuleType) -> list[pkgutil.ModuleInfo]:
    return sorted(pkgutil.iter_modules(package.__path__), key=lambda each: each.name)
