"""I: life cycle and permissions of memory."""
