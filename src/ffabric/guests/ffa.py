"""FF-A as software at EL1 or EL0 uses it.

:class:`Calls` has every call once; :class:`Ffa` is for a Python partition, which awaits them. Who
drives a vCPU from outside has the same calls, blocking (`ffabric.session`). Nothing here knows more
than the ABI tells: an FFA_ERROR raises `FfaError` with its status.
"""

from __future__ import annotations

from ffabric.guests.calls.activation import ActivationCalls
from ffabric.guests.calls.both_ways import Awaited
from ffabric.guests.calls.memory import MemoryCalls
from ffabric.guests.calls.messages import MessageCalls
from ffabric.guests.calls.notifications import NotificationCalls


class Calls(MessageCalls, MemoryCalls, NotificationCalls, ActivationCalls):
    """The FF-A calls of one vCPU. A call that needs RX/TX buffers maps them first."""


class Ffa(Awaited, Calls):
    """The FF-A calls of a Python partition. Every call is awaited."""
