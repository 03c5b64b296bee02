"""Partition messages, direct and indirect."""
