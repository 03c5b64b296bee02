"""What tests of partitions need besides: the fixture, handles, files, the ledger, the fuzzer."""

from ffabric._face import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ffabric.abi.ffa.options import MemoryAttributes, NotificationSources
    from ffabric.guests.images import load as load_image
    from ffabric.lab.fuzz.campaign import fuzz
    from ffabric.lab.invariants.invariants import Invariants
    from ffabric.machine.choices import ReplayError
    from ffabric.pytest_plugin.fixture import Fixture
    from ffabric.pytest_plugin.variants import parametrize
    from ffabric.session.ffa import Blocked, BlockingFfa
    from ffabric.session.handle import Handle
    from ffabric.session.refusals import NotRefused
    from ffabric.system.crash import PartitionCrashed
    from ffabric.system.description.check import check_file
    from ffabric.system.description.toml.system import read_system

__all__ = [
    "Blocked",
    "BlockingFfa",
    "Fixture",
    "Handle",
    "Invariants",
    "MemoryAttributes",
    "NotRefused",
    "NotificationSources",
    "PartitionCrashed",
    "ReplayError",
    "check_file",
    "fuzz",
    "load_image",
    "parametrize",
    "read_system",
]

_HOMES = {
    "Blocked": "ffabric.session.ffa",
    "BlockingFfa": "ffabric.session.ffa",
    "check_file": "ffabric.system.description.check",
    "Fixture": "ffabric.pytest_plugin.fixture",
    "fuzz": "ffabric.lab.fuzz.campaign",
    "Handle": "ffabric.session.handle",
    "Invariants": "ffabric.lab.invariants.invariants",
    "load_image": "ffabric.guests.images:load",
    "MemoryAttributes": "ffabric.abi.ffa.options",
    "NotificationSources": "ffabric.abi.ffa.options",
    "NotRefused": "ffabric.session.refusals",
    "parametrize": "ffabric.pytest_plugin.variants",
    "PartitionCrashed": "ffabric.system.crash",
    "read_system": "ffabric.system.description.toml.system",
    "ReplayError": "ffabric.machine.choices",
}
__getattr__, __dir__ = lazy(__name__, _HOMES)
