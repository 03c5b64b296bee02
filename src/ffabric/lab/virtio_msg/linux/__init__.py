"""A stand-in for Linux: a peer with the checks and the order of messages of its 2026 driver.

It is written from the texts alone (virtio-msg pr28 and v2, virtio 1.3, the binding over FF-A as the
reference tells it) and shares no code with the driver and device sides that it is run against: a
mistake of theirs is not its own. It speaks both wire forms that Linux's driver has had. An import
contract keeps it so.
"""
