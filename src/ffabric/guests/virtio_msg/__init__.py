"""virtio-msg over FF-A: the bus and the transport, from the driver's and from the device's side."""
