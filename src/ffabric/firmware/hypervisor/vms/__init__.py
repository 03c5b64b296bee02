"""Virtual machines: their lifetime, vCPUs, interrupts and memory."""
