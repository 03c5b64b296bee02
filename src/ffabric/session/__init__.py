"""A booted system in hand: handles on its partitions, the calls that they are driven by."""
