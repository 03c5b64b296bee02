"""The privileged software of both worlds, as pure state machines."""
