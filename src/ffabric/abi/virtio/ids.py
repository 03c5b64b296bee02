"""Device ids (virtio 1.3, 5)."""

from __future__ import annotations

from typing import Final

NETWORK: Final = 1
BLOCK: Final = 2
CONSOLE: Final = 3
RNG: Final = 4
TIPC: Final = 13
"""Trusty's IPC. The specification has the number for something else, which nobody uses with it."""
VSOCK: Final = 19
FILE_SYSTEM: Final = 26
I2C: Final = 34
GPIO: Final = 41

NAMES: Final = {
    NETWORK: "network",
    BLOCK: "block",
    CONSOLE: "console",
    RNG: "random numbers",
    TIPC: "tipc",
    VSOCK: "vsock",
    FILE_SYSTEM: "file system",
    I2C: "i2c",
    GPIO: "gpio",
}
