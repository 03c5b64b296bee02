"""EL3: the SPMD, PSCI and EL3 logical partitions."""
