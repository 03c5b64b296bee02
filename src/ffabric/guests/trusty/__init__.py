"""Trusty's IPC over virtio: services of a secure partition, and their clients in a VM."""
