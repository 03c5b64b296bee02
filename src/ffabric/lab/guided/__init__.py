"""Fuzzing of a user's own partitions: hostile endpoints whose calls grow by what they reach."""
