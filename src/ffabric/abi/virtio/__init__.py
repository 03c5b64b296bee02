"""What virtio devices and drivers share: feature bits, rings, and the layouts of devices."""
