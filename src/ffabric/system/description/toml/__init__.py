"""A system as a TOML file describes it: its tables and keys -> a draft of the system."""
