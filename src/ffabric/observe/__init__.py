"""Watching a run without changing it."""
