"""J: direct messages and call chains."""
