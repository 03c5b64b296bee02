"""Compile what there is in C, too, when the package is built, if that is possible here.

That is the inner loop of images, and the exchange with CPUs in QEMU.

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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from setuptools import Distribution, Extension
from setuptools.errors import BaseError, CCompilerError

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ModuleNotFoundError:  # to compile in place needs only a compiler
    BuildHookInterface = object

ENGINES = Path("src/ffabric/machine/engines")
SUFFIX = ".abi3.pyd" if sys.platform == "win32" else ".abi3.so"
SOURCES = [ENGINES / "unicorn/inner_loop/loop.c"]
if sys.platform != "win32":
    SOURCES.append(ENGINES / "qemu/exchange/exchange.c")
VARIABLE = "FFABRIC_COMPILE"


class CustomBuildHook(BuildHookInterface):
    """Puts the compiled modules into a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say what the wheel is good for."""
        if self.target_name != "wheel":
            return
        sources = [Path(self.root, each) for each in SOURCES]
        if version == "editable":
            compile_in_place(sources)
            return
        self._made = Path(tempfile.mkdtemp())
        for relative, source in zip(SOURCES, sources, strict=True):
            made = self._made / module_of(source).name
            if compile_to(made, source):
                platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
                build_data["tag"] = f"cp311-abi3-{platform}"
                build_data["pure_python"] = False
                place = Path(*module_of(relative).parts[1:])
                build_data["force_include"][str(made)] = str(place)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Take away what is in the wheel by now."""
        shutil.rmtree(getattr(self, "_made", ""), ignore_errors=True)


def module_of(source: Path) -> Path:
    """Where the module of a source is, beside it."""
    return source.with_name(f"_{source.stem}{SUFFIX}")


def compile_in_place(sources: Iterable[Path]) -> bool:
    """Compile all ``sources`` beside them: whether that was possible, and wanted."""
    made = [compile_to(module_of(source), source) for source in sources]
    return all(made)


def compile_to(place: Path, source: Path) -> bool:
    """Compile ``source`` to ``place``: whether that was possible, and wanted."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "0":
        return False
    checksum = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    with tempfile.TemporaryDirectory() as made:
        macros = [("SOURCE", f"x{checksum}")]
        name = f"_{source.stem}"
        extension = Extension(name, [str(source)], define_macros=macros, py_limited_api=True)
        command = Distribution({"ext_modules": [extension]}).get_command_obj("build_ext")
        command.build_lib = command.build_temp = made
        try:
            command.ensure_finalized()
            command.run()
        except (BaseError, CCompilerError, OSError) as error:
            if wanted:
                raise
            print(f"{source.name} is not compiled: {error}", file=sys.stderr)
            return False
        shutil.copyfile(command.get_outputs()[0], place.with_suffix(".new"))
    place.with_suffix(".new").replace(place)  # whoever has the former one loaded keeps it
    return True


if __name__ == "__main__":
    sys.exit(not compile_in_place(SOURCES))
