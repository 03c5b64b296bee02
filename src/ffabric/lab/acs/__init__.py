"""Arm's FF-A compliance suite (ACS), from a user's own build, on the platform it is written for."""
