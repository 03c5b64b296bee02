"""How fast everything is: benchmarks as declarations, one runner, a table, JSON and a plot."""
