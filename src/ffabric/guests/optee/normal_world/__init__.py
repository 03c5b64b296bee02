"""The normal world's side of OP-TEE: driver and tee-supplicant."""
