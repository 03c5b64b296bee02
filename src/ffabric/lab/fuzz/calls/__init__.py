"""Calls of hostile endpoints: at random, in chains, of memory, of power, and of their devices."""
