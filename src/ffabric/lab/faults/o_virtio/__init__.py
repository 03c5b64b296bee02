"""O: virtio-msg and virtqueues."""
