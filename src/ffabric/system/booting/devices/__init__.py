"""The devices of a machine at boot, those of its GICs, and who reaches memory from a device."""
