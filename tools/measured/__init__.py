"""What the tests execute: lines and branches of each package, and rules, refused and passed.

`make coverage` runs all tests and compares with ``floors.toml``, where it may not fall.
"""
