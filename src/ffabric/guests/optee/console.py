"""The console of OP-TEE, as far as the SPMC has one."""

from __future__ import annotations

from contextlib import suppress

from ffabric.guests.errors import FfaError
from ffabric.guests.optee.place import Place


async def log(place: Place, text: str) -> None:
    """Print a line; nothing where FFA_CONSOLE_LOG is not known (before FF-A v1.2)."""
    with suppress(FfaError):
        await place.console_log(f"E/TC: {text}\n")
