"""Mutants: small changes of the firmware that a test must notice.

A mutant is a line of a function, and what stands there instead. `make mutants` runs a sample of all
that can be made; CI runs those that are kept in ``kept.toml``, each against the few tests that have
noticed it before. ``equivalent.toml`` lists those that nobody can notice, with the reason.
"""
