"""Every rule of the firmware, for whoever lists, explains or counts them."""

from __future__ import annotations

import importlib
import pkgutil

import ffabric.firmware


def load() -> None:
    """Import every room, so that ``RULES`` is complete."""
    for module in pkgutil.walk_packages(ffabric.firmware.__path__, "ffabric.firmware."):
        importlib.import_module(module.name)
