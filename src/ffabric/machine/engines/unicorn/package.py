"""Unicorn's library and the numbers of its headers, without its binding.

Importing the package sets up a binding for all architectures of which nothing is used here, and
takes longer than booting a system. So its library is loaded from where the package keeps it, and
the modules of constants, which import nothing, are executed alone. Where the library is somewhere
else, the binding knows where.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

_NAMES = {"darwin": "libunicorn.2.dylib", "linux": "libunicorn.so.2"}
"""The library's file by platform. Windows has several, which the binding loads in order."""


def _folder() -> Path:
    """Where the package is. Raises ModuleNotFoundError if it is not installed."""
    found = importlib.util.find_spec("unicorn")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'unicorn'", name="unicorn")
    return Path(found.submodule_search_locations[0])


def _constants(name: str) -> Any:
    """A module of constants of the package."""
    spec = importlib.util.spec_from_file_location(f"{__name__}.{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def library() -> str:
    """The path of the library; it is loaded by then."""
    path = FOLDER / "lib" / _NAMES.get(sys.platform, "")
    if path.is_file() and "LIBUNICORN_PATH" not in os.environ:
        try:
            ctypes.CDLL(str(path))
        except OSError:
            pass
        else:
            return str(path)
    from unicorn.unicorn_py3.unicorn import uclib  # noqa: PLC0415 - takes long

    name: str = uclib._name
    return name


FOLDER = _folder()
arm = _constants("arm64_const")
"""Registers and processors of AArch64."""
uc = _constants("unicorn_const")
"""Errors, hooks, permissions."""
