"""K: interrupts, pre-emption, states of vCPUs."""
