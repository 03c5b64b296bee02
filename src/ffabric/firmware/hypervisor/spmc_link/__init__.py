"""What the hypervisor asks of EL3 and the SPMC: sequences of SMCs."""
