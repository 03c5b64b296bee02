"""From configuration, manifests and packages to a booted system."""
