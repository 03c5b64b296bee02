"""A driver for I2C adapters (virtio 1.3, 5.15)."""

from __future__ import annotations

from collections.abc import Sequence

from ffabric.abi.virtio import i2c as abi
from ffabric.abi.virtio import ids
from ffabric.abi.words import PAGE
from ffabric.guests.virtio.driver import Driver
from ffabric.guests.virtio.driver_queue import Buffer

Transfer = tuple[int, bytes | int]
"""7-bit address, and what to write or how many bytes to read."""


class NotAcknowledged(Exception):  # noqa: N818 - what happened on the bus
    """A transfer failed: nobody has that address, or who has it refuses."""


class I2cDriver(Driver):
    """An adapter."""

    id = ids.I2C
    features = abi.F_ZERO_LENGTH_REQUEST

    async def start(self) -> None:
        """Take memory for requests, which stays shared."""
        self._page = await self.allocate(PAGE)

    async def transfer(self, transfers: Sequence[Transfer]) -> list[bytes]:
        """Several transfers as one: what each has read. Raises NotAcknowledged if one failed."""
        memory, base = self.device.memory, self._page
        at = 0
        numbers, results = [], []
        for index, (address, what) in enumerate(transfers):
            reading = isinstance(what, int)
            flags = abi.READ if reading else 0
            flags |= abi.FAIL_NEXT if index + 1 < len(transfers) else 0
            header = abi.HEADER.pack(abi.encode_address(address), 0, flags)
            data = bytes(what)  # so many zeros, if it is a number
            if at + len(header) + len(data) + 1 > PAGE:
                raise ValueError(f"transfers of more than {PAGE} bytes")
            memory.write(base.ipa + at, header + data + b"\xff")
            start = at + len(header)
            chain: list[Buffer] = [(base.address + at, len(header), False)]
            if data:
                chain.append((base.address + start, len(data), reading))
            at = start + len(data) + 1
            chain.append((base.address + at - 1, 1, True))
            numbers.append(await self.submit(0, chain))
            results.append((start, len(data), reading))
        for number in numbers:
            await self.finish(0, number)
        read = []
        for (address, _), (start, count, reading) in zip(transfers, results, strict=True):
            answer = memory.read(base.ipa + start, count + 1)
            if answer[count] != abi.Status.OK:
                raise NotAcknowledged(f"{address:#x}")
            read.append(answer[:count] if reading else b"")
        return read

    async def write(self, address: int, data: bytes) -> None:
        """Write to a target."""
        await self.transfer([(address, data)])

    async def read(self, address: int, count: int) -> bytes:
        """Read from a target."""
        (data,) = await self.transfer([(address, count)])
        return data
