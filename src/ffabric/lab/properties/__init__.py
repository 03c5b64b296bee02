"""What holds of the firmware whatever is asked of it: properties that random inputs try."""
