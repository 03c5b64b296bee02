"""Accesses of many pages by a partition: pages that follow each other in RAM are one access."""

import pytest

from ffabric import DataAbort, Partition

PAGE = 4096
RAM = 0x4010_0000
"""Somewhere in a VM's RAM."""


class Idle(Partition):
    pass


@pytest.mark.parametrize("known", [(), (1,), (0, 1, 2), (0, 2)])
@pytest.mark.parametrize("offset", [0, 1, 4095])
def test_all_bytes_are_there_whatever_is_known_of_the_pages(ffabric, known, offset):
    memory = ffabric.boot(vms=["client"]).vm("client").endpoint.memory
    base = RAM
    for page in known:
        memory.read(base + page * PAGE, 1)
        memory.write(base + page * PAGE, b"x")
    data = bytes(range(251)) * 60
    memory.write(base + offset, data)
    assert memory.read(base + offset, len(data)) == data
    assert memory.read(base + offset + len(data), 1) == b"\0"


def test_what_precedes_an_abort_is_done(ffabric):
    client = ffabric.boot(sps=[Idle()], vms=["client"]).vm("client")
    memory, base = client.endpoint.memory, RAM
    memory.write(base, bytes(3 * PAGE))
    client.ffa.donate(Idle, ipa=base + 2 * PAGE)
    with pytest.raises(DataAbort):
        memory.write(base + 8, b"y" * (3 * PAGE - 8))
    assert memory.read(base + 8, 2 * PAGE - 8) == b"y" * (2 * PAGE - 8)
    with pytest.raises(DataAbort):
        memory.read(base, 3 * PAGE)
