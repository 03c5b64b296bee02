"""The Firmware Framework for Arm A-profile (DEN0077) and its memory management (DEN0140)."""
