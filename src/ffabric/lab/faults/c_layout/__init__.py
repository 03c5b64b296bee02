"""C: layouts by version."""
