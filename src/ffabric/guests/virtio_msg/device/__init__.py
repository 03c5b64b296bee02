"""The device side of virtio-msg: devices, their connections to driver sides, and their memory."""
