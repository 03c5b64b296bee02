"""What goes by a FIFO is seen, judged and interfered with, though no call carries it."""

import pytest

from ffabric.abi.virtio_msg import fifo as layout
from ffabric.abi.virtio_msg import transport as t
from ffabric.abi.virtio_msg.generations import DEFAULT, PR28, V2
from ffabric.abi.virtio_msg.message import build, parse
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio_msg.device.carriers import ALL_CARRIERS
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.lab.running import run_to_end
from ffabric.lab.virtio_msg.conform import Trial, run
from ffabric.lab.virtio_msg.judges.observer import Judges
from ffabric.lab.virtio_msg.judges.rules import Side, Verdict
from ffabric.lab.virtio_msg.mischief import Act, Mischief
from ffabric.lab.virtio_msg.tap import Tap
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe

GENERATIONS = pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)
WAYS = pytest.mark.parametrize(
    "way", [{}, {"indirect": True, "secure": False}], ids=["to SP", "to VM"]
)
DISK = 64 << 10


class Judging(Judges):
    """Keeps what it is shown."""

    def __init__(self):
        super().__init__(DEFAULT)
        self.shown = []

    def driver_sent(self, pair, data):
        super().driver_sent(pair, data)
        self.shown.append(("sent", parse(data, DEFAULT)))

    def device_received(self, pair, data):
        super().device_received(pair, data)
        self.shown.append(("received", parse(data, DEFAULT)))


class Client(DriverSide):
    def __init__(self, work, **how):
        super().__init__("client", fifo=True, **how)
        self._work = work

    async def work(self, bus):
        await self._work(bus)
        assert await bus.close()


def seen(work, mischief=None, **how):
    """What the judges are shown of a client that does its work by FIFO."""
    side = DeviceSide([BlockDevice(bytearray(DISK))], carriers=ALL_CARRIERS)
    judges = Judging()
    with boot(describe(sps=[side], vms=[Client(work, **how)])) as system:
        Tap(system, judges, mischief)
        ended = run_to_end(system)
        ended.raise_interruption()
    return judges


def failed(judges):
    return [each.rule.id for each in judges.close().of(Verdict.FAILED)]


@GENERATIONS
@WAYS
def test_a_fifo_exercises_all_that_indirect_messages_do(generation, way):
    by_fifo = run(Trial(generation, fifo=True, **way))
    by_message = run(Trial(generation, **way | {"indirect": True}))
    assert by_fifo.ended_well
    assert by_fifo.report.of(Verdict.FAILED) == []
    passed, wanted = (
        {(each.side, each.rule.id) for each in outcome.report.of(Verdict.PASSED)}
        for outcome in (by_fifo, by_message)
    )
    assert wanted - passed == set()


def test_each_message_is_seen_once_at_either_end_and_before_it_is_answered():
    async def work(bus):
        for _ in range(2 * layout.DEPTH):  # all slots, and all of them again
            await bus.request(t.GET_DEVICE_STATUS, 0)

    shown = [
        (how, each.token) for how, each in seen(work).shown if each.kind is t.GET_DEVICE_STATUS
    ]
    tokens = [token for how, token in shown if how == "sent"]
    assert len(set(tokens)) == 2 * layout.DEPTH
    assert shown == [(how, token) for token in tokens for how in ("sent", "received")]


def test_a_driver_side_that_breaks_a_rule_by_fifo_is_named():
    async def work(bus):
        end = bus.devices[0]
        await end.identify()
        size = end.info["config_size"]
        await bus.request(t.GET_CONFIG, 0, offset=size, length=4)

    (broken,) = seen(work).close().of(Verdict.FAILED)
    assert (broken.side, broken.rule.id) == (Side.DRIVER, "driver.config.inside")
    assert "GET_CONFIG of device 0" in broken.first


def test_a_driver_side_that_keeps_it_is_not():
    async def work(bus):
        end = bus.devices[0]
        await end.identify()
        size = end.info["config_size"]
        await bus.request(t.GET_CONFIG, 0, offset=size - 4, length=4)

    assert failed(seen(work)) == []


class Hasty(DeviceSide):
    """Says by FIFO that buffers were used before there are any."""

    hasty = True

    async def _drain(self, connection, fifo, ffa):
        await super()._drain(connection, fifo, ffa)
        if self.hasty and connection.agreed and connection.method:
            self.hasty = False
            fifo.put(build(t.EVENT_USED, DEFAULT, device=0, index=0))
            await self._delivery.notify(connection, fifo.notification, ffa)


def test_a_device_side_that_breaks_a_rule_by_fifo_is_named():
    async def work(bus):
        await bus.devices[0].identify()

    judges = Judging()
    side = Hasty([BlockDevice(bytearray(DISK))], carriers=ALL_CARRIERS)
    with boot(describe(sps=[side], vms=[Client(work)])) as system:
        Tap(system, judges)
        run_to_end(system).raise_interruption()
    assert set(failed(judges)) == {"device.used.running", "device.used.queue"}


def test_what_is_lost_in_a_fifo_never_arrives_and_breaks_no_rule():
    async def work(bus):
        lost = bus.request(t.GET_DEVICE_STATUS, 0)
        with pytest.raises(Exception, match="no response comes"):
            await lost

    mischief = Mischief(script={}, rate=0)

    def lose(pair, data):
        return [] if data[1] == t.GET_DEVICE_STATUS.id else [data]

    mischief.to_device = lose  # type: ignore[method-assign]
    judges = seen(work, mischief, patience=10_000_000)
    shown = [how for how, each in judges.shown if each.kind is t.GET_DEVICE_STATUS]
    assert shown == ["sent"]
    assert failed(judges) == []


@pytest.mark.parametrize("act", [Act.DROP, Act.CORRUPT, Act.DUPLICATE])
def test_mischief_in_a_fifo_is_done_to_what_goes_by_it(act):
    mischief = Mischief(3, rate=30, acts=[act])
    outcome = run(Trial(DEFAULT, fifo=True), mischief)
    assert outcome.ended_well
    assert max(mischief.log) > 20  # far beyond what sets the FIFO up
    assert outcome.report.of(Verdict.FAILED) == []


@pytest.mark.parametrize("index", [layout.DEPTH, 0x7FFF, 0xFFFF])
@pytest.mark.parametrize("where", [layout.WRITE_INDEX, layout.READ_INDEX])
def test_an_index_that_is_none_is_not_followed(index, where):
    async def work(bus):
        area = bus.areas[0]
        bus.memory.write16(area.ipa + where, index)
        with pytest.raises(Exception, match=r"no response comes|FIFO"):
            await bus.devices[0].identify()

    assert failed(seen(work, patience=10_000_000)) in ([], ["device.answered"])


def test_memory_that_was_a_fifo_is_looked_at_no_more():
    async def work(bus):
        area = bus.areas[0]
        ipa, pages = area.ipa, area.pages
        assert await bus.close()
        junk = bytes(range(256)) * (pages * 16)
        bus.memory.write(ipa, junk)
        await bus.ffa.yield_()
        await bus.open(16)

    judges = seen(work)
    assert failed(judges) == []
