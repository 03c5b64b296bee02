"""Stage-2 block and page descriptors (Arm DDI 0487, D8.3.2), with the bits left to software."""

VALID = 1 << 0
TABLE = 1 << 1
MEMATTR_DEVICE_NGNRNE = 0b0000 << 2
MEMATTR_DEVICE_NGNRE = 0b0001 << 2
MEMATTR_DEVICE_NGRE = 0b0010 << 2
MEMATTR_DEVICE_GRE = 0b0011 << 2
MEMATTR_NORMAL_NC = 0b0101 << 2
MEMATTR_NORMAL_WB = 0b1111 << 2
MEMATTR_MASK = 0b1111 << 2
S2AP_R = 1 << 6
S2AP_W = 1 << 7
SH_OUTER = 0b10 << 8
SH_INNER = 0b11 << 8
SH_MASK = 0b11 << 8
AF = 1 << 10
XN = 0b10 << 53  # neither EL1 nor EL0 executes; what tells them apart needs FEAT_XNX
XN_MASK = 0b11 << 53
SW_NS = 1 << 55  # the output address is in the Non-secure space (software's bit here)
SW1 = 1 << 56
SW2 = 1 << 57
SW3 = 1 << 58
UNSEEN = SW1 | SW2 | SW3  # by whoever translates

ADDRESS = 0x0000_FFFF_FFFF_F000
ATTRIBUTES = 0xFFF8_0000_0000_0FFD  # bit 1 is the tables' own, bits 50:48 are reserved
KIND = VALID | TABLE
"""The bits that tell what a descriptor is."""

LEVEL0 = 39
"""Bits of address below one descriptor of level 0."""
LEVEL1 = 30
"""Bits of address below one descriptor of level 1; each level below has nine fewer."""
CONCATENATED = 43
"""Bits of IPA up to which a walk begins at level 1."""
