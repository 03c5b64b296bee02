"""Areas that a device side gives back, while several of its handlers are under way."""

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.guests.errors import FfaError
from ffabric.guests.virtio_msg.device.areas import Area
from ffabric.guests.virtio_msg.device.retrieved_areas import RetrievedAreas


class Calls:
    """Relinquishes; during a call the partition serves something else."""

    memory = None

    def __init__(self):
        self.relinquished = []
        self.said = []
        self.meanwhile = lambda: None

    async def relinquish(self, handle):
        self.relinquished.append(handle)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()

    async def console_log(self, line):
        self.said.append(line)


def finish(coroutine):
    """Run what waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def leaving(calls):
    """Area 1, which is on its way back."""
    areas = RetrievedAreas(0x8001, calls, list, None)  # type: ignore[arg-type]
    areas.dma.add(Area(1, 0x101, [(0, 0x1000)]))
    areas.let_go(1)
    return areas


def test_an_area_is_given_back_once_though_two_handlers_do_so():
    calls, found = Calls(), []
    areas = leaving(calls)
    calls.meanwhile = lambda: found.append(finish(areas.give_back(1, calls)))
    assert finish(areas.give_back(1, calls))
    assert found == [False]
    assert calls.relinquished == [0x101]
    assert not areas.leaving


def test_an_area_that_is_not_taken_back_is_still_leaving():
    calls = Calls()
    areas = leaving(calls)

    def refused():
        raise FfaError(Status.DENIED, fid.FFA_MEM_RELINQUISH)

    calls.meanwhile = refused
    assert not finish(areas.give_back(1, calls))
    assert areas.leaving.keys() == {1}
    assert len(calls.said) == 1
    assert finish(areas.give_back(1, calls))
