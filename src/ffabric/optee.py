"""OP-TEE: its core in Python, trusted applications, and the driver of the normal world."""

from ffabric._face import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ffabric.abi.optee.message import Command, Message, Type, Value
    from ffabric.abi.optee.tee import Result
    from ffabric.guests.optee.error import TeeError
    from ffabric.guests.optee.ffa.core import OpTee
    from ffabric.guests.optee.normal_world.driver import Driver
    from ffabric.guests.optee.normal_world.shm import NULL
    from ffabric.guests.optee.normal_world.supplicant import Supplicant
    from ffabric.guests.optee.tas.ta import Enumerated, TrustedApp
    from ffabric.guests.trusted_os import TrustedOs
    from ffabric.lab.optee.compare import compare
    from ffabric.session.optee import BlockingDriver

__all__ = [
    "NULL",
    "BlockingDriver",
    "Command",
    "Driver",
    "Enumerated",
    "Message",
    "OpTee",
    "Result",
    "Supplicant",
    "TeeError",
    "TrustedApp",
    "TrustedOs",
    "Type",
    "Value",
    "compare",
]

_HOMES = {
    "BlockingDriver": "ffabric.session.optee",
    "Command": "ffabric.abi.optee.message",
    "compare": "ffabric.lab.optee.compare",
    "Driver": "ffabric.guests.optee.normal_world.driver",
    "Enumerated": "ffabric.guests.optee.tas.ta",
    "Message": "ffabric.abi.optee.message",
    "NULL": "ffabric.guests.optee.normal_world.shm",
    "OpTee": "ffabric.guests.optee.ffa.core",
    "Result": "ffabric.abi.optee.tee",
    "Supplicant": "ffabric.guests.optee.normal_world.supplicant",
    "TeeError": "ffabric.guests.optee.error",
    "TrustedApp": "ffabric.guests.optee.tas.ta",
    "TrustedOs": "ffabric.guests.trusted_os",
    "Type": "ffabric.abi.optee.message",
    "Value": "ffabric.abi.optee.message",
}
__getattr__, __dir__ = lazy(__name__, _HOMES)
