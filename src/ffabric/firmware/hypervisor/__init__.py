"""NS-EL2: virtual machines."""
