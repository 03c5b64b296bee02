"""OP-TEE's own tests, xtest, in two Linux VMs at once that share one real OP-TEE."""
