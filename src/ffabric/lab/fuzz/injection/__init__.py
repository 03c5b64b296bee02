"""Events that burst into scenarios: each one at each boundary, and all pairs of them."""
