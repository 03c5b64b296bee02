"""Judges of both sides of virtio-msg: the clauses as rules, and what each side knows and says."""
