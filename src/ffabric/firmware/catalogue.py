"""Every rule of the firmware, for whoever lists, explains or counts them: `RULES` is whole here."""

from __future__ import annotations

import importlib
import pkgutil

import ffabric.firmware
from ffabric.firmware.state.rules import RULES

__all__ = ["RULES"]

for _module in pkgutil.walk_packages(ffabric.firmware.__path__, "ffabric.firmware."):
    importlib.import_module(_module.name)
