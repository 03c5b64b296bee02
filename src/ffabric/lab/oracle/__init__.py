"""An independent judge of the firmware: it deduces from calls and reads page tables."""
