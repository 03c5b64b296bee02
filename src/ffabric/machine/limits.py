"""What a machine cannot exceed: for those who build one and those who describe one."""

from __future__ import annotations

from typing import Final

PES: Final = 256
"""Processing elements."""
IPA_BITS: Final = 40
"""Bits of an intermediate physical address: every stage 2 translates so many."""
PA_BITS: Final = 47
"""Bits of the physical addresses of memory and devices. A descriptor holds 48 (Arm DDI 0487,
D8.3.2); the upper half is the machine's own, for the virtual GICs of VMs."""
MEMORY: Final = 1 << 40
"""Bytes of memory, all banks together."""
AFFINITIES: Final = 0xFF_00FF_FFFF
"""Bits of an MPIDR that say which PE it is: Aff3 to Aff0."""
