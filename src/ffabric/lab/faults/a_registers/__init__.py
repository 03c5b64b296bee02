"""A: registers and calling conventions."""
