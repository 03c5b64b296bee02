"""OP-TEE's core as a secure partition: calls by direct messages of FF-A."""
