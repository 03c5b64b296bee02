"""S-EL2: the secure partition manager core."""
