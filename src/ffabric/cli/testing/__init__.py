"""Commands that test and measure."""
