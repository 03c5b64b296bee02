"""G: information that leaks."""
