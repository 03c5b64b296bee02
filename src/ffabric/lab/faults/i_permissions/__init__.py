"""I: permissions of memory, and who may have it at all."""
