"""Compile the inner loop of images when the package is built, if that is possible here.

It needs a C compiler and Python's headers. Without them the package is the same, but for its speed.
``FFABRIC_COMPILE=0`` in the environment leaves it out, ``=1`` fails without it.

A wheel that has it is good for CPython from 3.11 on (limited API). For an installation in place,
and with ``python hatch_build.py``, it is put beside its source.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from setuptools import Distribution, Extension
from setuptools.errors import BaseError, CCompilerError

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:  # to compile in place needs only a compiler
    BuildHookInterface = object

FOLDER = Path("src/ffabric/machine/engines/unicorn/inner_loop")
NAME = "_loop.abi3.pyd" if sys.platform == "win32" else "_loop.abi3.so"
VARIABLE = "FFABRIC_COMPILE"


class CustomBuildHook(BuildHookInterface):
    """Puts the compiled module into a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say what the wheel is good for."""
        if self.target_name != "wheel":
            return
        folder = Path(self.root, FOLDER)
        if version == "editable":
            compile_to(folder / NAME, folder)
            return
        self._made = Path(tempfile.mkdtemp())
        if compile_to(self._made / NAME, folder):
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"cp311-abi3-{platform}"
            build_data["pure_python"] = False
            place = Path(*FOLDER.parts[1:], NAME)
            build_data["force_include"][str(self._made / NAME)] = str(place)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Take away what is in the wheel by now."""
        shutil.rmtree(getattr(self, "_made", ""), ignore_errors=True)


def compile_to(place: Path, folder: Path) -> bool:
    """Compile ``loop.c`` of ``folder`` to ``place``: whether that was possible, and wanted."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "0":
        return False
    source = folder / "loop.c"
    checksum = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    with tempfile.TemporaryDirectory() as made:
        macros = [("SOURCE", f"x{checksum}")]
        extension = Extension("_loop", [str(source)], define_macros=macros, py_limited_api=True)
        command = Distribution({"ext_modules": [extension]}).get_command_obj("build_ext")
        command.build_lib = command.build_temp = made
        try:
            command.ensure_finalized()
            command.run()
        except (BaseError, CCompilerError, OSError) as error:
            if wanted:
                raise
            print(f"the inner loop of images is not compiled: {error}", file=sys.stderr)
            return False
        shutil.copyfile(command.get_outputs()[0], place.with_suffix(".new"))
    place.with_suffix(".new").replace(place)  # whoever has the former one loaded keeps it
    return True


if __name__ == "__main__":
    sys.exit(not compile_to(FOLDER / NAME, FOLDER))
