"""Import ffabric's own modules as Python does, not as pytest does.

pytest rewrites the assertions of a package that has a plugin, so that a failure shows their values.
Ours are about our own code, not a test's, and to read what pytest has made of three hundred modules
takes longer than all that a short test does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_OURS = "ffabric."


class PlainFinder:
    """Finds our modules, and nothing else."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        return PathFinder.find_spec(name, path, target) if name.startswith(_OURS) else None


def install() -> None:
    """Look there first, from now on."""
    if PlainFinder not in sys.meta_path:
        sys.meta_path.insert(0, PlainFinder)
