"""What Linux has done with the devices of a device side here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio import ids
from ffabric.guests.virtio.dma import QueueError

if TYPE_CHECKING:
    from ffabric.guests.virtio_msg.device.end import End
    from ffabric.guests.virtio_msg.device.partition import DeviceSide


def rows(side: DeviceSide) -> Iterator[tuple[str, str]]:
    """For the summary: whether a driver side has come, and the state of each device."""
    generation = side.generation.name
    for connection in side.connections.values():
        agreed = "agreed on the version" if connection.agreed else "has not agreed on a version"
        yield "virtio-msg", f"driver side {connection.peer:#06x} {agreed}; we speak {generation}"
    for number in side.numbers:
        name = ids.NAMES.get(side.device(number).id, "device")
        yield f"  {name} {number}", _state(side, number) + _rings(_end(side, number))


def problems(side: DeviceSide) -> list[str]:
    """What is not as it must be: every device is to be driven."""
    if not any(connection.agreed for connection in side.connections.values()):
        return ["no driver side has agreed on the version of the bus with the device side"]
    suspicions = [each.suspicion for each in side.connections.values() if each.listed_only]
    if suspicions:
        return suspicions
    return [
        f"{ids.NAMES.get(side.device(number).id, 'device')} {number}: {state}"
        + (_DISKS if state == _NOT and side.device(number).id == ids.BLOCK else "")
        for number in side.numbers
        if (state := _state(side, number)) != _READY
    ]


_READY, _NOT = "driven", "not brought up"
_DISKS = "; Debian's driver of disks is a module: --module virtio_blk"


def _state(side: DeviceSide, number: int) -> str:
    end = _end(side, number)
    return "nobody's" if end is None else _said(end)


def _end(side: DeviceSide, number: int) -> End | None:
    return next(
        (each.ends[number] for each in side.connections.values() if number in each.ends), None
    )


def _said(end: End) -> str:
    """A kernel that turns itself off resets the devices that it has driven."""
    if end.status & bits.NEEDS_RESET:
        return "needs a reset"
    if end.status & bits.FAILED:
        return "given up by its driver"
    return _READY if end.brought_up else _NOT


def _rings(end: End | None) -> str:
    """Who has buffers, of a device whose driver may wait for it."""
    if end is None or not end.status & bits.DRIVER_OK:
        return ""
    queues = [queue for queue in end.device.queues if queue is not None]
    under_way = sum(queue.under_way for queue in queues)
    try:
        waiting = any(queue.waits for queue in queues)
    except QueueError as error:
        return f"; a virtqueue is broken: {error}"
    if waiting:
        return "; Linux has made buffers available, and has not told of them"
    return f"; Linux waits for {under_way} buffers" if under_way else "; no buffer is missing"
