"""How exact the OP-TEE core in Python is: the same forged messages for it and for a real one."""
