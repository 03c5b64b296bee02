"""What QEMU costs: calls of its images and of a real Linux, of several CPUs, and of its SPs."""
