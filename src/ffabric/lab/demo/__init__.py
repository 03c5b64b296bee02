"""The systems that ``ffabric demo`` runs, as examples to copy from.

stage.py     a system on which scenes are played
scenes.py    messages and memory: the system, its scenes, and what must be true afterwards
sps.py       its two secure partitions in Python
vms.py       its three virtual machines in Python
doorbell.py  notifications: a driver in two halves, and a VMM
trusted.py   OP-TEE as a secure partition, with a bank for each VM
disk.py      virtio devices behind FF-A
programme.py all of them, one after the other
excerpt.py   which lines of a trace are worth a person's time
campaign.py  the demo with many seeds, each played twice
"""
