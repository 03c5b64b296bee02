"""What the two EL2s share: a partition manager."""
