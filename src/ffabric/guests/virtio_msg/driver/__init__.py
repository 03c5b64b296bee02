"""The driver side of virtio-msg: drivers, the buses they see, and the memory they share."""
