"""B: negotiation of versions."""
