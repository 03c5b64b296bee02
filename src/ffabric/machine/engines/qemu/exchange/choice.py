"""Which exchange there is: the compiled one, if it was made from the source that is here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from ffabric.machine.engines import compiled
from ffabric.machine.engines.qemu.exchange import interpreted

if TYPE_CHECKING:
    from ffabric.machine.engines.qemu.exchange._exchange import Exchange

SOURCE = "xe0303e71a9f7e338"
"""x and the first digits of the SHA-256 of ``exchange.c``."""
MODULE = f"{__package__}._exchange"


def exchange(words: memoryview) -> interpreted.Exchange | Exchange:
    """The exchange with the CPU whose block is ``words``. Raises InnerLoopError."""
    if compiled.why_not(MODULE, SOURCE):
        return interpreted.Exchange(words)
    return cast("Exchange", importlib.import_module(MODULE).Exchange(words))
