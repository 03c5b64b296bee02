"""OP-TEE in Python below EL3: a trusted OS that is called with OP-TEE's SMC ABI."""
