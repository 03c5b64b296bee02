"""The devices of one driver side: those that are there, and those that are gone but not settled."""

from __future__ import annotations

from collections.abc import Iterator

from ffabric.guests.virtio.device import Device
from ffabric.guests.virtio_msg.device.end import End, look_after


class Ends(dict[int, End]):
    """Those that are there, by number."""

    def __init__(self) -> None:
        super().__init__()
        self.departing: list[End] = []
        """Of devices that are gone and have not settled."""
        self._due: dict[int, End] = {}
        """Those that have to be polled, by identity."""

    def devices(self) -> Iterator[Device]:
        """All that may use what the driver shares."""
        yield from (end.device for end in self.values())
        yield from (end.device for end in self.departing)

    def on_due(self, end: End) -> None:
        """One wants to be polled."""
        self._due[id(end)] = end

    def look(self, complaints: list[str]) -> None:
        """Poll those that want it, and note what they complain of."""
        look_after(self._due, complaints)

    def depart(self, number: int) -> End:
        """A device is gone: it is reset, and departs until it has settled."""
        end = self.pop(number)
        end.reset()
        self._due.pop(id(end), None)
        self.departing.append(end)
        return end

    def see_off(self) -> None:
        """Forget the devices that are gone and have settled."""
        for end in self.departing:
            if not end.is_gone:
                end.poll()
        for end in [each for each in self.departing if each.is_gone]:
            end.device.host = None
            self.departing.remove(end)
