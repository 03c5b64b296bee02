"""Schedules of a scenario, one after the other, until one breaks it or none is left."""
