"""The devices that a system configuration can name."""

from __future__ import annotations

from ffabric.machine.devices import (
    crypto_engine,
    generic_timer,
    generic_watchdog,
    pl011,
    smmuv3,
    smmuv3_test_engine,
    sp805,
    stub,
)
from ffabric.machine.devices.description import DeviceDescription

TYPES: dict[str, DeviceDescription] = {
    description.type: description
    for description in (
        crypto_engine.DESCRIPTION,
        generic_timer.DESCRIPTION,
        generic_watchdog.DESCRIPTION,
        pl011.DESCRIPTION,
        smmuv3.DESCRIPTION,
        smmuv3_test_engine.DESCRIPTION,
        sp805.DESCRIPTION,
        stub.DESCRIPTION,
    )
}
"""By type, such as ``pl011``."""

DEVICES: dict[str, DeviceDescription] = {
    compatible: description
    for description in TYPES.values()
    for compatible in description.compatible
}
"""By compatible string, such as ``arm,pl011``."""
