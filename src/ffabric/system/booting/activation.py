"""Live activation, as far as it is no business of the firmware: new images, where they wait.

The board keeps a new image until it is primed; then it is in the staging memory of its SP, laid out
as it will be in the memory of the SP. A partition in Python has no image: its new software takes
the place of the old one, and finds its memory cleared.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ffabric.abi.words import PAGE
from ffabric.firmware.monitor.live_activation import Component, LiveActivation
from ffabric.system.booting.hand_off.boot_information import boot_information
from ffabric.system.booting.own_memory import is_own
from ffabric.system.spec import RAM, ImageSource, PythonSource, Source

if TYPE_CHECKING:
    from ffabric.machine.memory import PhysicalMemory
    from ffabric.system.endpoint import Endpoint
    from ffabric.system.spec import PartitionSpec
    from ffabric.system.system import System


class NotActivatable(ValueError):  # noqa: N818 - what the partition is
    """A partition cannot get a new image, or not this one."""


def make_activatable(system: System) -> None:
    """Let EL3 have an agent for the SPs whose image can be replaced, and those that are at hand."""
    sps, monitor = system.spec.sps, system.firmware.monitor
    components = [
        Component(sp.id, sp.manifest.image_uuid, sp.staging.base)
        for sp in sps
        if sp.staging is not None and sp.manifest.image_uuid is not None
    ]
    monitor.live_activation = LiveActivation(monitor, components)
    for sp in sps:
        if sp.new_image is not None:
            stage(system, sp.name, sp.new_image)


def stage(system: System, name: str, source: Source) -> None:
    """Keep a new image, or new software, for the SP ``name``. Raises NotActivatable."""
    endpoint = system.endpoints[name]
    spec, agent = endpoint.spec, system.firmware.monitor.live_activation
    if agent is None or spec.staging is None:
        raise NotActivatable(f"{name} does not support live activation (live-activation-support)")
    if isinstance(source, ImageSource) is not isinstance(spec.source, ImageSource):
        raise NotActivatable(f"{name} is an image and stays one, or is Python and stays that")
    new = replace(spec, source=_moved(spec, source))
    data = _laid_out(new)
    room = sum(each.size for each in spec.memory if each.name == RAM)
    if len(data) > room:
        message = f"{len(data):#x} bytes from the load address, {room:#x} have room"
        raise NotActivatable(f"{name}: {message}")
    component = next(each for each in agent.components if each.partition == spec.id)
    try:
        agent.offer(component, partial(_copy, system.machine.memory, component.address, data))
    except ValueError as error:
        raise NotActivatable(f"{name}: {error}") from None
    endpoint.staged = new


def _moved(spec: PartitionSpec, source: Source) -> Source:
    """A new image at its place in the memory of the SP, which it may be linked to."""
    if isinstance(source, PythonSource) or source.image.base is None:
        return source
    offset = source.image.base - spec.load_address
    if offset < 0:
        message = f"{source.path}: linked to {source.image.base:#x}, below {spec.load_address:#x}"
        raise NotActivatable(f"{spec.name}: {message}")
    return ImageSource(source.path, replace(source.image, base=None).moved(offset))


def _laid_out(spec: PartitionSpec) -> bytes:
    """What the partition begins with, from its load address on."""
    parts: list[tuple[int, bytes]] = []
    if isinstance(spec.source, ImageSource):
        parts += [(part.offset, part.data) for part in spec.source.image.parts]
    if spec.manifest_offset is not None:
        parts += [(spec.manifest_offset, spec.dtb), *boot_information(spec)]
    data = bytearray(max((at + len(each) for at, each in parts), default=1))
    for at, each in parts:
        data[at : at + len(each)] = each
    return bytes(data)


def _copy(memory: PhysicalMemory, address: int, data: bytes) -> int:
    """Copy a new image to the staging memory: how many pages it has."""
    pages = -(-len(data) // PAGE)
    memory.write(address, data.ljust(pages * PAGE, b"\0"), secure=True)
    return pages


def copy_over(endpoint: Endpoint, memory: PhysicalMemory, address: int, pages: int) -> bool:
    """Replace what is in an SP's own memory by what is staged; False: a part is not its own."""
    partition = endpoint.partition
    assert partition.stage2 is not None
    own = [each for each in endpoint.spec.memory if each.name == RAM]
    if not is_own(own, partition.stage2):
        return False
    data = memory.read(address, pages * PAGE, secure=True)
    for piece in own:
        memory.zero(piece.pa, piece.size, secure=piece.secure)
        part, data = data[: piece.size], data[piece.size :]
        memory.write(piece.pa, part, secure=piece.secure)
    return True
