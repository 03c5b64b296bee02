"""The GICv3 interrupt controller."""
