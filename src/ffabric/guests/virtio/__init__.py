"""Virtio above any transport: virtqueues from both sides, devices, and their drivers."""
