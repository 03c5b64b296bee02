"""The calls that both EL2s answer. What an EL2 names for one of them behind these replaces it."""

from __future__ import annotations

from typing import Final

from ffabric.firmware.manager import cycles
from ffabric.firmware.manager.memory import fragments, reclaim, retrieve, send
from ffabric.firmware.manager.messages import direct, indirect
from ffabric.firmware.manager.notifications import calls as notifications
from ffabric.firmware.manager.setup import console, discovery, features, mailbox, version

COMMON: Final = (
    version.HANDLERS,
    features.HANDLERS,
    discovery.HANDLERS,
    mailbox.HANDLERS,
    direct.HANDLERS,
    indirect.HANDLERS,
    cycles.HANDLERS,
    notifications.HANDLERS,
    send.HANDLERS,
    retrieve.HANDLERS,
    fragments.HANDLERS,
    reclaim.HANDLERS,
    console.HANDLERS,
)
