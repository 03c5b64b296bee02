"""Engines: what executes the software at EL1 and EL0."""
