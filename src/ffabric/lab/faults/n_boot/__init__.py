"""N: manifests and boot."""
