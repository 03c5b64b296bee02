"""E: fragments."""
