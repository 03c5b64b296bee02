"""What software finds in memory when it is entered: boot information, or what a kernel gets."""
