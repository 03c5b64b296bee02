"""H: ownership of RX and TX."""
