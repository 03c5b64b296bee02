"""F: time of check and time of use."""
