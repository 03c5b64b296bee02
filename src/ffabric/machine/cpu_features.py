"""Processors that images may have, and their optional features (Arm ARM DDI 0487, A2).

What a processor lacks is an undefined instruction there. `lacking` says which feature an
instruction needs, so that whoever reads of one learns what to switch on, or that nothing can be.
"""

from __future__ import annotations

from collections.abc import Iterable

MODELS = ("max", "cortex-a53", "cortex-a57", "cortex-a72")
"""The processors that the engine for images has, by QEMU's names."""
ADDRESS_BITS = {"max": 44, "cortex-a53": 40, "cortex-a57": 44, "cortex-a72": 44}
"""Bits of an address, before stage 2 and behind it, that a processor has (ID_AA64MMFR0_EL1.PARange;
the output of stage 2 has 48)."""
FEATURES = ("pauth", "bti", "sve")
"""Optional features of "max"."""
DEFAULT_FEATURES = ("pauth", "bti")
IMPOSSIBLE = {
    "mte": "memory tagging",
    "sme": "the scalable matrix extension",
    "sve2": "the second scalable vector extension",
    "rme": "realms",
    "ls64": "64-byte loads and stores",
    "gcs": "guarded control stacks",
    "rng": "random numbers, which would differ from run to run",
}
"""Features that no processor here has, and what they are."""

_NEEDS = (  # mask, value, feature: DDI 0487, C4.1 (top-level encodings)
    (0x1E00_0000, 0x0400_0000, "sve"),
    (0xFFD8_FFE0, 0xD518_1200, "sve"),  # MRS and MSR of ZCR_ELx
    (0x9E00_0000, 0x8000_0000, "sme"),
    (0xFFE0_F800, 0x9AC0_1000, "mte"),  # IRG, GMI
    (0xDFE0_FC00, 0x9AC0_0000, "mte"),  # SUBP, SUBPS
    (0xBFC0_C000, 0x9180_0000, "mte"),  # ADDG, SUBG
    (0xFF20_0000, 0xD920_0000, "mte"),  # LDG, STG and their kind
    (0xFFFF_0000, 0xDAC1_0000, "pauth"),
    (0xFFE0_FC00, 0x9AC0_3000, "pauth"),  # PACGA
    (0xFEDF_F800, 0xD61F_0800, "pauth"),  # BRAA and its kind
    (0xFF20_0400, 0xF820_0400, "pauth"),  # LDRAA, LDRAB
    (0x3F20_0C00, 0x3820_0000, "lse"),
    (0x3FA0_7C00, 0x08A0_7C00, "lse"),  # CAS
    (0xBFA0_7C00, 0x0820_7C00, "lse"),  # CASP
)


def lacking(word: int) -> str:
    """The optional feature that the instruction ``word`` needs; nothing if it needs none."""
    return next((feature for mask, value, feature in _NEEDS if word & mask == value), "")


def complaints(model: str, features: Iterable[str] | None) -> list[str]:
    """What is wrong with a choice of features for a processor; `model` is one of `MODELS`."""
    found = []
    for feature in features or ():
        if feature in IMPOSSIBLE:
            found.append(f"no CPU has {feature} ({IMPOSSIBLE[feature]}) under Unicorn")
        elif feature not in FEATURES:
            found.append(f"{feature!r} is not one of {', '.join(FEATURES)}")
        elif model != "max":
            found.append(f"{model} has no {feature}: 'max' has")
    return found
