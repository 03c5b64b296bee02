"""Devices whose back end is a process outside, over vhost-user.

A partition has the device, the process does its work. What the process reaches of a driver's memory
is decided area by area (`reach`); what it does not reach is copied for it. Virtqueues it has of its
own, *shadows* in memory that only partition and process share (`lane`): each chain of the driver is
read once, judged, and passed on as it was judged. So a hostile driver can neither break the
connection, as a bad address would, nor change what was judged.
"""
