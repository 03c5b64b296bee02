"""A new project of a partition: what a user begins with."""
