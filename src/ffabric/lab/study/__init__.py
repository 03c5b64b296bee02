"""Studies: what a choice costs, counted in runs that are the same every time."""
