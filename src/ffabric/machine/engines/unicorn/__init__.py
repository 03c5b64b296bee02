"""AArch64 software at EL1 or EL0, executed by Unicorn in virtual time."""
