"""What virtio-msg costs: messages and reads of a disk, by bus and by way, and how they grow."""
