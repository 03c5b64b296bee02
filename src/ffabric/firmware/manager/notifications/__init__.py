"""Notifications: their calls and their rules (DEN0077A 1.2, chapter 16)."""
