"""Trusty's IPC: the device with its services, and the driver that programs open files of."""

from ffabric._face import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ffabric.guests.trusty.binder import Native, Parcel, Proxy, TransactionError
    from ffabric.guests.trusty.device import Channel, Service, TipcDevice
    from ffabric.guests.trusty.driver import TipcDriver, TipcError, TipcFile
    from ffabric.guests.trusty.memory import Buffer, Memory

__all__ = [
    "Buffer",
    "Channel",
    "Memory",
    "Native",
    "Parcel",
    "Proxy",
    "Service",
    "TipcDevice",
    "TipcDriver",
    "TipcError",
    "TipcFile",
    "TransactionError",
]

_HOMES = {
    "Buffer": "ffabric.guests.trusty.memory",
    "Memory": "ffabric.guests.trusty.memory",
    "Native": "ffabric.guests.trusty.binder",
    "Parcel": "ffabric.guests.trusty.binder",
    "Proxy": "ffabric.guests.trusty.binder",
    "TransactionError": "ffabric.guests.trusty.binder",
    "Channel": "ffabric.guests.trusty.device",
    "Service": "ffabric.guests.trusty.device",
    "TipcDevice": "ffabric.guests.trusty.device",
    "TipcDriver": "ffabric.guests.trusty.driver",
    "TipcError": "ffabric.guests.trusty.driver",
    "TipcFile": "ffabric.guests.trusty.driver",
}
__getattr__, __dir__ = lazy(__name__, _HOMES)
