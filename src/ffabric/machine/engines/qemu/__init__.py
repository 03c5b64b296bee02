"""AArch64 software in a QEMU process of its own, in wall time."""
