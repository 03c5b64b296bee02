"""Secure storage: persistent objects of TAs, encrypted in files of the normal world."""
