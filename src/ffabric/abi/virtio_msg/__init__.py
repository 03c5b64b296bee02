"""virtio-msg: the messages of the transport, of its buses, and of the bus over FF-A."""
