"""Both sides of our own, run against each other, and judged by what goes by."""

from functools import cache

import pytest

from ffabric.abi.virtio_msg.generations import DEFAULT, PR28, RFC2, V2
from ffabric.abi.virtio_msg.message import build
from ffabric.abi.virtio_msg.transport import EVENT_USED
from ffabric.guests.virtio.devices.block import BlockDevice
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.guests.virtio_msg.driver.partition import DriverSide
from ffabric.lab.virtio_msg.conform import run, run_system, trials
from ffabric.lab.virtio_msg.judges.rules import Report, Side, Verdict
from ffabric.system.description.python import describe
from ffabric.system.description.python_target import TargetError

GENERATIONS = pytest.mark.parametrize("generation", [PR28, V2, RFC2], ids=lambda each: each.name)


@cache
def judged(generation, driver, device):
    """What all ways of a pair say together; every run has ended well."""
    report = Report(generation)
    for trial in trials(generation, driver, device):
        outcome = run(trial)
        assert outcome.ended_well, outcome.ended
        report.merge([outcome.report])
    return report


def failures(report):
    return [(each.side.value, each.rule.id, each.first) for each in report.of(Verdict.FAILED)]


@GENERATIONS
@pytest.mark.parametrize("device", ["python", "lively"])
@pytest.mark.parametrize("driver", ["python", "examiner"])
def test_our_sides_keep_all_rules(generation, driver, device):
    assert failures(judged(generation, driver, device)) == []


@pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)
@pytest.mark.parametrize("pair", [("examiner", "linux"), ("linux", "lively"), ("linux", "linux")])
def test_the_stand_in_for_linux_keeps_all_rules(generation, pair):
    assert failures(judged(generation, *pair)) == []


@GENERATIONS
def test_our_pairs_exercise_every_rule(generation):
    report = Report(generation)
    for driver in ("python", "examiner"):
        report.merge([judged(generation, driver, "lively")])
    left = {(each.side, each.rule.id) for each in report.of(Verdict.NOT_EXERCISED)}
    assert left <= {(Side.DEVICE, "device.bus.area_release.known")}


@pytest.mark.parametrize("pair", [("linux", "python"), ("python", "linux"), ("python", "socket:x")])
def test_rfc2_is_spoken_by_partitions_alone(pair):
    with pytest.raises(TargetError, match="rfc2 is spoken by partitions alone"):
        list(trials(RFC2, *pair))


def test_of_an_examiner_only_the_answers_are_judged():
    report = judged(PR28, "examiner", "python")
    assert not any(each.passed or each.failed for each in report if each.side is Side.DRIVER)


class Confused(DeviceSide):
    """Tells of used buffers before there are any."""

    told = False

    async def on_direct_request(self, request, ffa):
        answer = await super().on_direct_request(request, ffa)
        if not self.told and any(each.agreed for each in self.connections.values()):
            polled = request.payload[0] >> 8 & 0xFF == 0x84
            if polled:
                self.told = True
                event = build(EVENT_USED, PR28, device=0, index=0)
                words = [int.from_bytes(event[at : at + 8], "little") for at in (0, 8)]
                return request.respond(*words, *[0] * 12)
        return answer


class Poller(DriverSide):
    async def work(self, bus):
        await bus.poll()


def test_the_side_the_rule_and_the_message_are_named():
    outcome = run_system(
        describe(sps=[Confused([BlockDevice(bytearray(512))])], vms=[Poller()]), DEFAULT
    )
    failed = {each.rule.id: each for each in outcome.report.of(Verdict.FAILED)}
    assert set(failed) == {"device.used.running", "device.used.queue"}
    assert failed["device.used.running"].side is Side.DEVICE
    assert failed["device.used.running"].first == "EVENT_USED of device 0 index=0x0"


def test_a_system_without_virtio_has_no_message():
    outcome = run_system(describe(sps=["unconcerned"], vms=["driver"]), PR28)
    assert outcome.messages == 0
