"""Disks of a real back end, qemu-storage-daemon, under a VM's Python driver."""
