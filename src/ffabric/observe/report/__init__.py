"""A trace as one HTML page that needs nothing else."""
