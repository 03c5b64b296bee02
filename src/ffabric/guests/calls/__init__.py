"""The FF-A calls that software of a partition makes, by their rooms in the specification."""
