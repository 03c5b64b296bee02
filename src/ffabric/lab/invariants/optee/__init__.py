"""Isolation between VMs in a virtualized OP-TEE."""
