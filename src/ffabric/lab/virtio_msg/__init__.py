"""virtio-msg on the wire: its clauses as rules, judges of both sides, mischief between them."""
