"""Trusted applications, their sessions, and what OP-TEE does for them."""
