"""A real Linux kernel as the normal world: Debian's packages, an initial file system, a run."""
