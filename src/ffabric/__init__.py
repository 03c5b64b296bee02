"""ffabric: a whole Arm FF-A system on one ordinary computer."""

__version__ = "0.1.0"
