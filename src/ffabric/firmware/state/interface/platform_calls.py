"""SMCs of the platform that EL3 answers: those of the silicon provider, of the OEM, of others.

What they do is the platform's business and not the firmware's: a system says what they answer. The
kernel, VMs and SPs may make them; whoever stands between passes them on (SMCCC 1.2, section 6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ffabric.abi.words import MASK64

Answer = int | Sequence[int] | None
"""x0, or x0 and the registers behind it; None: the registers stay as they are."""
Served = Callable[[list[int]], Answer]
"""What answers a call: gets x0 to x17."""


class PlatformCalls:
    """Those of a system, by function ID."""

    def __init__(self, served: Mapping[int, Served]) -> None:
        self._served = dict(served)

    def answer(self, function: int, x: list[int]) -> bool:
        """Answer the call in ``x`` in place; False: there is no such call."""
        serve = self._served.get(function)
        if serve is None:
            return False
        answer = serve([*x])
        if answer is not None:
            words = [answer] if isinstance(answer, int) else answer
            x[: len(words)] = [word & MASK64 for word in words]
        return True


NO_PLATFORM_CALLS = PlatformCalls({})
