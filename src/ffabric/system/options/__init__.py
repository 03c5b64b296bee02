"""What may stand in a manifest or in a system's file, and every mistake in it."""
