"""P: mediation of a hypervisor."""
