"""A system as somebody describes it, in TOML or in Python -> a `SystemSpec`."""
