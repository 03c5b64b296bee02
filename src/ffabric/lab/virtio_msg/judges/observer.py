"""Judges of all buses of a system, and one report on all of them."""

from __future__ import annotations

from collections import defaultdict

from ffabric.abi.virtio_msg.generations import Generation
from ffabric.lab.virtio_msg.judges.device_judge import DeviceJudge
from ffabric.lab.virtio_msg.judges.driver_judge import DriverJudge
from ffabric.lab.virtio_msg.judges.rules import Report, Side
from ffabric.lab.virtio_msg.judges.widening import Widening
from ffabric.lab.virtio_msg.tap import Pair


class Judges:
    """The `Observer` of a tap: both sides of each bus are judged by what they send."""

    def __init__(self, generation: Generation) -> None:
        self.report = Report(generation)
        self.messages: dict[Pair, int] = defaultdict(int)
        """How many messages went between each two sides, both ways."""
        self._drivers: dict[Pair, DriverJudge] = {}
        self._devices: dict[Pair, DeviceJudge] = {}
        self._widenings: dict[tuple[Side, Pair], Widening] = {}
        """Of generations whose messages have no token: by the end that sees them."""

    def _read(self, side: Side, pair: Pair, data: bytes) -> bytes:
        """A message as a side has sent or got it, with a header of 8 bytes."""
        if not self.report.generation.narrow:
            return data
        return self._widening(side, pair)(data)

    def _widening(self, side: Side, pair: Pair) -> Widening:
        found = self._widenings.get((side, pair))
        if found is None:
            found = self._widenings[side, pair] = Widening(order=side is Side.DEVICE)
        return found

    def _driver(self, pair: Pair) -> DriverJudge:
        judge = self._drivers.get(pair)
        if judge is None:
            judge = self._drivers[pair] = DriverJudge(pair.driver, self.report)
        return judge

    def _device(self, pair: Pair) -> DeviceJudge:
        judge = self._devices.get(pair)
        if judge is None:
            judge = self._devices[pair] = DeviceJudge(pair.driver, self.report)
        return judge

    def driver_sent(self, pair: Pair, data: bytes) -> None:
        """The driver side has sent a message."""
        self.messages[pair] += 1
        self._driver(pair).sent(self._read(Side.DRIVER, pair, data))

    def driver_received(self, pair: Pair, data: bytes) -> None:
        """The driver side has got a message."""
        self._driver(pair).received(self._read(Side.DRIVER, pair, data))

    def driver_was_answered(self, pair: Pair) -> None:
        """A direct message of the driver side is over."""
        self._driver(pair).settled()

    def device_sent(self, pair: Pair, data: bytes) -> None:
        """The device side has sent a message."""
        self.messages[pair] += 1
        self._device(pair).sent(self._read(Side.DEVICE, pair, data))

    def device_received(self, pair: Pair, data: bytes) -> None:
        """The device side has got a message."""
        self._device(pair).received(self._read(Side.DEVICE, pair, data))

    def device_was_busy(self, pair: Pair) -> None:
        """The device side has said that it is busy."""
        self._device(pair).busy()
        self._widening(Side.DEVICE, pair).busy()

    def close(self) -> Report:
        """The run is over: what all of it has said."""
        for judge in self._devices.values():
            judge.close()
        return self.report
