"""Peers outside: device sides and driver sides in other processes, at a socket."""
