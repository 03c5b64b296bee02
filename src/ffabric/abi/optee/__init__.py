"""OP-TEE as the normal world sees it: the FF-A and SMC ABIs, the message protocol, RPC."""
