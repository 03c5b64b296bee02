"""The runner whose inner loop is the compiled one.

What the type in C defines goes before what Python does; the rest is inherited from Python.
"""

from __future__ import annotations

import ctypes

from ffabric.machine.engines.unicorn import native
from ffabric.machine.engines.unicorn.inner_loop import _loop
from ffabric.machine.engines.unicorn.inner_loop.interpreted import InnerLoop
from ffabric.machine.engines.unicorn.package import arm
from ffabric.machine.engines.unicorn.runner import UnicornRunner
from ffabric.machine.engines.unicorn.system import GENERAL

_loop.setup(InnerLoop, *native.addresses())


class CompiledRunner(_loop.InnerLoop, UnicornRunner):
    """A `UnicornRunner` that is faster."""

    def _hook(self) -> tuple[object, object]:
        emulator = self._emulator
        hook = self.bind(
            emulator,
            emulator.handle.value or 0,
            ctypes.addressof(emulator.executed),
            GENERAL[:18],
            arm.UC_ARM64_REG_PC,
            self._calls,
        )
        return native.InterruptHook(hook), ctypes.py_object(self)
