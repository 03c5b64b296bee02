"""Memory management: donate, lend, share, and the way back (DEN0140)."""
