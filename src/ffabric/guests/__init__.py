"""Software for EL1 and EL0, in Python, that speaks only the ABI."""
