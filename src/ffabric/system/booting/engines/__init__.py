"""Which engine executes a context, and what each needs."""
