"""Several VMs and one OP-TEE below EL3."""
