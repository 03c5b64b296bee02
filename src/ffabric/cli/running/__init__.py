"""Commands that run systems."""
