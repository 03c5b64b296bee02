"""ffabric: a whole Arm FF-A system on one ordinary computer.

These names, and those of `ffabric.virtio`, `ffabric.optee`, `ffabric.trusty` and `ffabric.testing`,
are the public interface. Everything else is private and may change at any time.
"""

from ffabric._face import lazy

__version__ = "0.2.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ffabric.abi.ffa.options import MemoryFlags, MemoryPermissions, NotificationFlags
    from ffabric.abi.ffa.status import Status
    from ffabric.firmware.catalogue import RULES
    from ffabric.guests.calls.messages import DirectMessage
    from ffabric.guests.errors import FfaError
    from ffabric.guests.ffa import Ffa
    from ffabric.guests.partition import Partition
    from ffabric.machine.access import DataAbort
    from ffabric.session.booting import boot
    from ffabric.session.system import System, refuses
    from ffabric.session.trace import Trace
    from ffabric.system.description.python import sp, trusted_os, vm
    from ffabric.system.manifest.manifest import DeviceRegion, Interrupt, VmMessages

__all__ = [
    "RULES",
    "DataAbort",
    "DeviceRegion",
    "DirectMessage",
    "Ffa",
    "FfaError",
    "Interrupt",
    "MemoryFlags",
    "MemoryPermissions",
    "NotificationFlags",
    "Partition",
    "Status",
    "System",
    "Trace",
    "VmMessages",
    "boot",
    "refuses",
    "sp",
    "trusted_os",
    "vm",
]

_HOMES = {
    "boot": "ffabric.session.booting",
    "DataAbort": "ffabric.machine.access",
    "DeviceRegion": "ffabric.system.manifest.manifest",
    "DirectMessage": "ffabric.guests.calls.messages",
    "Ffa": "ffabric.guests.ffa",
    "FfaError": "ffabric.guests.errors",
    "Interrupt": "ffabric.system.manifest.manifest",
    "MemoryFlags": "ffabric.abi.ffa.options",
    "MemoryPermissions": "ffabric.abi.ffa.options",
    "NotificationFlags": "ffabric.abi.ffa.options",
    "Partition": "ffabric.guests.partition",
    "refuses": "ffabric.session.system",
    "RULES": "ffabric.firmware.catalogue",
    "sp": "ffabric.system.description.python",
    "Status": "ffabric.abi.ffa.status",
    "System": "ffabric.session.system",
    "Trace": "ffabric.session.trace",
    "trusted_os": "ffabric.system.description.python",
    "vm": "ffabric.system.description.python",
    "VmMessages": "ffabric.system.manifest.manifest",
}
__getattr__, __dir__ = lazy(__name__, _HOMES)
