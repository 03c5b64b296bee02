"""Trusty's IPC: the device with its services, and the driver that programs open files of."""

from ffabric._face import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ffabric.guests.trusty.device import Channel, Service, TipcDevice
    from ffabric.guests.trusty.driver import TipcDriver, TipcError, TipcFile

__all__ = [
    "Channel",
    "Service",
    "TipcDevice",
    "TipcDriver",
    "TipcError",
    "TipcFile",
]

_HOMES = {
    "Channel": "ffabric.guests.trusty.device",
    "Service": "ffabric.guests.trusty.device",
    "TipcDevice": "ffabric.guests.trusty.device",
    "TipcDriver": "ffabric.guests.trusty.driver",
    "TipcError": "ffabric.guests.trusty.driver",
    "TipcFile": "ffabric.guests.trusty.driver",
}
__getattr__, __dir__ = lazy(__name__, _HOMES)
