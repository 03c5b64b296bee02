"""What a machine cannot exceed: for those who build one and those who describe one."""

from __future__ import annotations

from typing import Final

PES: Final = 256
"""Processing elements."""
IPA_BITS: Final = 40
"""Bits of an intermediate physical address: a stage 2 translates so many, if it needs no more."""
MAX_IPA_BITS: Final = 48
"""As many as it can translate."""
IPA_END: Final = 1 << MAX_IPA_BITS
"""The first address beyond them."""
PA_END: Final = 0xFF00_0000_0000
"""Where the physical addresses of memory and devices end. A descriptor holds 48 bits (Arm DDI 0487,
D8.3.2); the last TiB of them is the machine's own, for the virtual GICs of VMs."""
MEMORY: Final = 1 << 40
"""Bytes of memory, all banks together."""
AFFINITIES: Final = 0xFF_00FF_FFFF
"""Bits of an MPIDR that say which PE it is: Aff3 to Aff0."""
