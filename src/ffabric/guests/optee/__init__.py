"""OP-TEE in Python: a core as a secure partition, TAs, the driver of the normal world."""
