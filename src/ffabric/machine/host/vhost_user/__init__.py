"""Devices that are processes outside: vhost-user back ends, and the memory they are given."""
