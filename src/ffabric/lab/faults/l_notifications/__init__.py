"""L: notifications."""
