"""What Linux has done with the devices of a device side here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio import ids

if TYPE_CHECKING:
    from ffabric.guests.virtio_msg.device.ffa_bus import Connection
    from ffabric.guests.virtio_msg.device.partition import DeviceSide


def rows(side: DeviceSide) -> Iterator[tuple[str, str]]:
    """For the summary: whether a driver side has come, and the state of each device."""
    generation = side.generation.name
    for connection in side.connections.values():
        agreed = "agreed on the version" if connection.agreed else "has not agreed on a version"
        yield "virtio-msg", f"driver side {connection.peer:#06x} {agreed}; we speak {generation}"
    for number in side.numbers:
        name = ids.NAMES.get(side.device(number).id, "device")
        yield f"  {name} {number}", _state(side, number)


def problems(side: DeviceSide) -> list[str]:
    """What is not as it must be: every device is to be driven."""
    if not any(connection.agreed for connection in side.connections.values()):
        return ["no driver side has agreed on the version of the bus with the device side"]
    suspicions = [each.suspicion for each in side.connections.values() if each.listed_only]
    if suspicions:
        return suspicions
    return [
        f"{ids.NAMES.get(side.device(number).id, 'device')} {number}: {state}"
        for number in side.numbers
        if (state := _state(side, number)) != _READY
    ]


_READY = "driven"


def _state(side: DeviceSide, number: int) -> str:
    connection = next((each for each in side.connections.values() if number in each.ends), None)
    return "nobody's" if connection is None else _said(connection, number)


def _said(connection: Connection, number: int) -> str:
    status = connection.ends[number].status
    if status & bits.NEEDS_RESET:
        return "needs a reset"
    if status & bits.FAILED:
        return "given up by its driver"
    return _READY if status & bits.DRIVER_OK else "not brought up"
