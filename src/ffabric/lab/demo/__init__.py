"""The system that ``ffabric demo`` runs, as an example to copy from.

sps.py      two secure partitions in Python
vms.py      three virtual machines in Python
scenes.py   the system, what happens in it scene by scene, and what must be true afterwards
excerpt.py  which lines of its trace are worth a person's time
campaign.py the demo with many seeds, each played twice
"""
