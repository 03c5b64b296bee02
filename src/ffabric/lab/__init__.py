"""Experiments over many runs: benchmarks, fuzzing, conformance."""
