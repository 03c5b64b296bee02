"""Devices on the physical bus that a platform can name."""
