"""D: bounds, overflow, alignment, overlap."""
