"""AArch64 images: partitions small enough to read, that run on any engine.

Each `NAME.S` beside this file is assembled into `NAME.bin`: position-independent code, entered at
its first byte with the MMU off. They need a page of memory and no stack.

    adder_smc    a secure partition at S-EL1 that answers direct requests with a sum
    adder_svc    the same at S-EL0
    client_smc   a virtual machine that asks the first secure partition 64 times, then turns off
    client_hvc   the same with HVC as its conduit
"""

from __future__ import annotations

from importlib import resources

NAMES = ("adder_smc", "adder_svc", "client_hvc", "client_smc")
"""The images there are."""


def load(name: str) -> bytes:
    """The AArch64 test image called `name`, raw; ValueError if there is none."""
    if name not in NAMES:
        raise ValueError(f"no image {name!r}: there are {', '.join(NAMES)}")
    return (resources.files(__name__) / f"{name}.bin").read_bytes()


load.__module__ = "ffabric.testing"
