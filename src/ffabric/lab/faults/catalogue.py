"""All faults by name, from the folders of their classes; a big class has two folders."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

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
    folders = [
        import_module(f"{faults.__name__}.{folder.name}")
        for folder in pkgutil.iter_modules(faults.__path__)
        if folder.ispkg
    ]
    found: list[Fault] = [
        import_module(f"{folder.__name__}.{each.name}").FAULT
        for folder in folders
        for each in pkgutil.iter_modules(folder.__path__)
    ]
    return {each.name: each for each in sorted(found, key=lambda each: (each.class_, each.name))}


def find(name: str) -> Fault:
    """The fault called ``name``. Raises LookupError if there is none."""
    known = all_faults()
    if name not in known:
        raise LookupError(f"there is no fault {name!r}{did_you_mean(name, known)}")
    return known[name]
