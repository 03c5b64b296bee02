"""I: life cycle of memory: sent, taken, given back, reclaimed."""
