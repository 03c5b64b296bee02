"""Every rule of virtio-msg both ways: the message that breaks it, and its nearest neighbour."""

import pytest
from virtio_talk import (
    CONFIG_SIZE,
    FEATURES,
    GENERATION,
    MAX_AREAS,
    OK,
    QUEUES,
    RUNNING,
    SAME,
    SIZE,
    acknowledged,
    agreed,
    chosen,
    fresh,
    known,
    placed,
    running,
)

from ffabric.abi.virtio_msg import bus, ffa
from ffabric.abi.virtio_msg import transport as t
from ffabric.abi.virtio_msg.bus import DeviceState
from ffabric.abi.virtio_msg.ffa import Method
from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.abi.virtio_msg.header import BUS, RESPONSE, build_header
from ffabric.lab.virtio_msg.judges.rules import RULES, Side

D, S = Side.DRIVER, Side.DEVICE
PING = bus.PING
UNOFFERED = FEATURES | 1 << 5
READY, REMOVED = DeviceState.READY, DeviceState.REMOVED


def window(talk, **told):
    answer = {"offset": 0, "count": 8, "next_offset": 0, "bitmap": b"\1"} | told
    talk.ask(bus.GET_DEVICES, offset=0, count=8, answer=answer)


def configure(talk, method=Method.POLL, notification=0, result=0):
    talk.ask(
        ffa.EVENT_CONFIGURE, method=method, notification=notification, answer={"result": result}
    )


def unshare(talk, area=1, result=0):
    talk.ask(ffa.AREA_UNSHARE, area=area, answer={"area": area, "result": result})


def ping(talk, data=None, **changed):
    """A PING of the driver, whose bytes are changed."""
    raw = bytearray(talk.build(PING, token=9, data=1))
    for at, value in changed.items():
        raw[int(at[1:])] = value
    talk.driver.sent(bytes(raw) + (data or b""))


def pong(talk, data=b"", **changed):
    talk.ask(PING, data=1, token=9)
    raw = bytearray(talk.build(PING, token=9, data=1, response=True))
    for at, value in changed.items():
        raw[int(at[1:])] = value
    talk.device.sent(bytes(raw) + data)


def raw_set_queue(talk, last):
    raw = bytearray(talk.build(t.SET_VQUEUE, token=9, **talk.placed()))
    raw[20] = last
    talk.driver.sent(bytes(raw))


def raw_look(talk, last):
    talk.ask(t.GET_VQUEUE, index=0, token=9)
    answer = talk.build(t.GET_VQUEUE, token=9, index=0, max_size=8, response=True)
    talk.device.sent(answer[:20] + bytes((last,)) + answer[21:])


def nonsense(talk, answer):
    talk.from_driver(build_header(BUS, 0x3F, 0, 9))
    if answer is ffa.ERROR:
        talk.answer(ffa.ERROR, token=9, msg_id=0x3F)
    else:
        talk.answer(answer, token=9, data=0)


def event_then(talk, answer):
    talk.tell(t.EVENT_AVAIL, index=0)
    talk.from_device(answer)


def reset(talk):
    talk.ask(t.RESET_VQUEUE, index=0, answer={})


TAKEN = build_header(BUS | RESPONSE, 0, 0, 0)
AN_ERROR = build_header(BUS | RESPONSE, ffa.ERROR.id, 0, 0, 2) + b"\x41\0"

# Rule, who has sent the message, from where, the message that breaks it, its neighbour.
CASES = [
    # form
    ("message.size", D, agreed, lambda c: ping(c, _6=200), ping),
    ("message.size", S, agreed, lambda c: pong(c, _6=7), pong),
    ("message.type", D, agreed, lambda c: ping(c, _0=0x82), ping),
    ("message.type", S, agreed, lambda c: pong(c, _0=0x83), pong),
    ("message.id", D, agreed, lambda c: ping(c, _1=0x3F), lambda c: ping(c, _1=0xBF)),
    ("message.id", S, agreed, lambda c: pong(c, _1=0x3E), lambda c: pong(c, _1=0x8F)),
    (
        "message.direction",
        D,
        running,
        lambda c: c.tell(t.EVENT_USED, index=0),
        lambda c: c.tell(t.EVENT_AVAIL, index=0),
    ),
    (
        "message.direction",
        S,
        running,
        lambda c: c.event(t.EVENT_AVAIL, index=0),
        lambda c: c.event(t.EVENT_USED, index=0),
    ),
    ("message.exact", D, agreed, lambda c: ping(c, b"0000", _6=16), lambda c: ping(c, bytes(4))),
    ("message.exact", S, agreed, lambda c: pong(c, _6=10), pong),
    (
        "message.reserved",
        D,
        chosen,
        lambda c: raw_set_queue(c, 1),
        lambda c: raw_set_queue(c, 0),
    ),
    ("message.reserved", S, chosen, lambda c: raw_look(c, 1), lambda c: raw_look(c, 0)),
    ("message.padding", D, agreed, lambda c: ping(c, b"\0\0\1"), lambda c: ping(c, bytes(3))),
    ("message.padding", S, agreed, lambda c: pong(c, b"\1"), lambda c: pong(c, b"\0")),
    ("message.bus_device", D, agreed, lambda c: ping(c, _2=1), ping),
    ("message.bus_device", S, agreed, lambda c: pong(c, _2=1), lambda c: c.fail(PING, data=0)),
    # a driver's bus
    (
        "driver.bus.version_first",
        D,
        fresh,
        lambda c: c.ask(PING, data=0),
        lambda c: c.ask(ffa.RESET),
    ),
    (
        "driver.bus.token",
        D,
        agreed,
        lambda c: (c.ask(PING, data=0, token=5), c.ask(PING, data=1, token=5)),
        lambda c: (c.ask(PING, data=0, token=5, answer=SAME), c.ask(PING, data=1, token=5)),
    ),
    (
        "driver.bus.request_token",
        D,
        agreed,
        lambda c: c.ask(PING, data=0, token=0),
        lambda c: c.ask(PING, data=0, token=1),
    ),
    (
        "driver.bus.get_devices.window",
        D,
        agreed,
        lambda c: c.ask(bus.GET_DEVICES, offset=0, count=255),
        lambda c: c.ask(bus.GET_DEVICES, offset=0, count=256),
    ),
    (
        "driver.bus.event_configure.method",
        D,
        agreed,
        lambda c: configure(c, Method.FIFO),
        lambda c: configure(c, Method.INDIRECT),
    ),
    (
        "driver.bus.event_configure.notification",
        D,
        agreed,
        lambda c: configure(c, Method.NOTIFICATION, 64),
        lambda c: configure(c, Method.NOTIFICATION, 63),
    ),
    (
        "driver.bus.event_configure.once",
        D,
        agreed,
        lambda c: (configure(c), configure(c)),
        lambda c: (configure(c, result=1), configure(c)),
    ),
    (
        "driver.bus.area_share.number",
        D,
        agreed,
        lambda c: c.share(MAX_AREAS + 1),
        lambda c: c.share(MAX_AREAS),
    ),
    (
        "driver.bus.area_share.number",
        D,
        agreed,
        lambda c: (c.share(2), c.share(2)),
        lambda c: (c.share(2), unshare(c, 2), c.share(2)),
    ),
    ("driver.bus.area_share.pages", D, agreed, lambda c: c.share(pages=0), lambda c: c.share()),
    (
        "driver.bus.area_share.attributes",
        D,
        agreed,
        lambda c: c.share(attributes=int(ffa.NORMAL_SHARED) | 8),
        lambda c: c.share(attributes=int(ffa.NORMAL_SHARED) | 1 << 11),
    ),
    (
        "driver.bus.area_unshare.known",
        D,
        agreed,
        lambda c: unshare(c, 3),
        lambda c: (c.share(3), unshare(c, 3)),
    ),
    (
        "driver.bus.area_unshare.unused",
        D,
        running,
        unshare,
        lambda c: (c.status(0), unshare(c)),
    ),
    # a driver's devices
    (
        "driver.removed",
        D,
        running,
        lambda c: (c.event(bus.EVENT_DEVICE, number=0, state=REMOVED), c.info()),
        lambda c: (
            c.event(bus.EVENT_DEVICE, number=0, state=REMOVED),
            c.event(bus.EVENT_DEVICE, number=0, state=READY),
            c.info(),
        ),
    ),
    ("driver.info_first", D, agreed, lambda c: c.features(), lambda c: c.info().features()),
    ("driver.status.order", D, acknowledged, lambda c: c.status(7), lambda c: c.status(OK)),
    ("driver.status.order", D, acknowledged, lambda c: c.status(0xF), lambda c: c.status(0x83)),
    ("driver.status.kept", D, running, lambda c: c.status(OK), lambda c: c.status(0x8F)),
    ("driver.status.bits", D, known, lambda c: c.status(0x11), lambda c: c.status(1)),
    (
        "driver.status.reset_awaited",
        D,
        running,
        lambda c: c.status(0, told=RUNNING).config(),
        lambda c: c.status(0, told=RUNNING).status(0),
    ),
    (
        "driver.features.offered",
        D,
        acknowledged,
        lambda c: c.choose(UNOFFERED),
        lambda c: c.choose(1 << 32),
    ),
    ("driver.features.before_ok", D, chosen, lambda c: c.choose(), lambda c: c.status(0).choose()),
    (
        "driver.features.checked",
        D,
        acknowledged,
        lambda c: c.choose().status(OK, told=3).look().queue(),
        lambda c: c.choose().status(OK).look().queue(),
    ),
    ("driver.config.inside", D, known, lambda c: c.config(CONFIG_SIZE), lambda c: c.config(4)),
    (
        "driver.config.generation",
        D,
        known,
        lambda c: c.config().write(GENERATION - 1, told=0),
        lambda c: c.config().write(GENERATION),
    ),
    (
        "driver.config.generation_zero",
        D,
        lambda: known(V2),
        lambda c: c.config().write(GENERATION),
        lambda c: c.config().write(0, now=GENERATION + 1),
    ),
    (
        "driver.queue.index",
        D,
        chosen,
        lambda c: c.queue(QUEUES),
        lambda c: c.look(QUEUES - 1).queue(QUEUES - 1),
    ),
    (
        "driver.queue.size",
        D,
        chosen,
        lambda c: c.queue(size=2 * SIZE),
        lambda c: c.queue(size=SIZE // 2),
    ),
    ("driver.queue.size", D, chosen, lambda c: c.queue(size=6), lambda c: c.queue(size=4)),
    (
        "driver.queue.aligned",
        D,
        chosen,
        lambda c: c.queue(device_area=ffa.address(1, 0x802)),
        lambda c: c.queue(device_area=ffa.address(1, 0x804)),
    ),
    (
        "driver.queue.shared",
        D,
        chosen,
        lambda c: c.queue(driver_area=ffa.address(2)),
        lambda c: c.share(2).queue(driver_area=ffa.address(2)),
    ),
    ("driver.queue.once", D, placed, lambda c: c.queue(), lambda c: c.look(1).queue(1)),
    (
        "driver.queue.confirmed",
        D,
        placed,
        lambda c: c.status(RUNNING),
        lambda c: c.look(**c.placed()).status(RUNNING),
    ),
    (
        "driver.queue.flags",
        D,
        lambda: chosen(V2),
        lambda c: c.queue(flags=0),
        lambda c: c.queue(flags=1),
    ),
    (
        "driver.queue.after_features",
        D,
        acknowledged,
        lambda c: c.look().queue(),
        lambda c: c.choose().status(OK).look().queue(),
    ),
    (
        "driver.queue.reset_negotiated",
        D,
        lambda: acknowledged().choose(3 << 32).status(OK).look().queue(),
        lambda c: c.ask(t.RESET_VQUEUE, index=0),
        lambda c: (c.status(0).choose(), c.ask(t.RESET_VQUEUE, index=0)),
    ),
    (
        "driver.avail.running",
        D,
        placed,
        lambda c: c.tell(t.EVENT_AVAIL, index=0),
        lambda c: (c.status(RUNNING), c.tell(t.EVENT_AVAIL, index=0)),
    ),
    (
        "driver.avail.queue",
        D,
        running,
        lambda c: c.tell(t.EVENT_AVAIL, index=1),
        lambda c: c.tell(t.EVENT_AVAIL, index=0),
    ),
    (
        "driver.avail.next",
        D,
        running,
        lambda c: c.tell(t.EVENT_AVAIL, index=0, next=1),
        lambda c: c.tell(t.EVENT_AVAIL, index=0, next=0),
    ),
    # a device's answers
    (
        "device.answer.to_request",
        S,
        agreed,
        lambda c: (c.ask(PING, data=0), c.answer(PING, token=77, data=0)),
        lambda c: c.ask(PING, data=0, answer=SAME),
    ),
    (
        "device.answer.every_request",
        S,
        agreed,
        lambda c: (c.ask(PING, data=0), c.device.close()),
        lambda c: (c.ask(PING, data=0, answer=SAME), c.device.close()),
    ),
    (
        "device.answer.same_id",
        S,
        known,
        lambda c: (c.ask(PING, data=0), c.answer(ffa.EVENT_POLL)),
        lambda c: c.fail(PING, data=0),
    ),
    (
        "device.answer.no_event",
        S,
        running,
        lambda c: event_then(c, AN_ERROR),
        lambda c: event_then(c, TAKEN),
    ),
    (
        "device.answer.malformed",
        S,
        agreed,
        lambda c: nonsense(c, PING),
        lambda c: nonsense(c, ffa.ERROR),
    ),
    (
        "device.error.names",
        S,
        agreed,
        lambda c: (c.ask(PING, data=0), c.answer(ffa.ERROR, msg_id=7)),
        lambda c: c.fail(PING, data=0),
    ),
    (
        "device.bus.before_agreement",
        S,
        fresh,
        lambda c: c.ask(PING, data=0, answer=SAME),
        lambda c: c.fail(PING, data=0),
    ),
    # a device side's bus
    (
        "device.bus.version.answer",
        S,
        fresh,
        lambda c: c.version(told=ffa.BUS_VERSION + 1),
        lambda c: c.version(ffa.BUS_VERSION + 1, told=ffa.BUS_VERSION),
    ),
    (
        "device.bus.version.agreed",
        S,
        agreed,
        lambda c: c.version(ffa.BUS_VERSION + 1),
        lambda c: c.version(),
    ),
    ("device.bus.result", S, agreed, lambda c: c.share(result=3), lambda c: c.share(result=2)),
    ("device.bus.area.number", S, agreed, lambda c: c.share(2, told=3), lambda c: c.share(2)),
    (
        "device.bus.area_share.refused",
        S,
        agreed,
        lambda c: c.share(0),
        lambda c: c.share(0, result=1),
    ),
    (
        "device.bus.area_unshare.refused",
        S,
        agreed,
        lambda c: unshare(c, 0),
        lambda c: unshare(c, 0, result=1),
    ),
    (
        "device.bus.event_configure.once",
        S,
        agreed,
        lambda c: (configure(c), configure(c)),
        lambda c: (configure(c), configure(c, result=1)),
    ),
    (
        "device.bus.event_configure.refused",
        S,
        agreed,
        lambda c: configure(c, Method.FIFO),
        lambda c: configure(c, Method.FIFO, result=1),
    ),
    (
        "device.bus.get_devices.window",
        S,
        agreed,
        lambda c: window(c, count=16, bitmap=b"\1\0"),
        window,
    ),
    (
        "device.bus.get_devices.next",
        S,
        agreed,
        lambda c: window(c, next_offset=4),
        lambda c: window(c, next_offset=8),
    ),
    (
        "device.bus.ping.echo",
        S,
        agreed,
        lambda c: c.ask(PING, data=1, answer={"data": 2}),
        lambda c: c.ask(PING, data=1, answer={"data": 1}),
    ),
    (
        "device.bus.event_device.changes",
        S,
        agreed,
        lambda c: [c.event(bus.EVENT_DEVICE, number=1, state=READY) for _ in range(2)],
        lambda c: [
            c.event(bus.EVENT_DEVICE, number=1, state=each) for each in (READY, REMOVED, READY)
        ],
    ),
    (
        "device.bus.area_release.known",
        S,
        known,
        lambda c: c.event(ffa.EVENT_AREA_RELEASE, area=0),
        lambda c: c.event(ffa.EVENT_AREA_RELEASE, area=1),
    ),
    # a device side's devices
    ("device.info.same", S, known, lambda c: c.info(config_size=9), lambda c: c.info()),
    ("device.info.id", S, agreed, lambda c: c.info(device_id=0), lambda c: c.info(device_id=1)),
    (
        "device.info.features",
        S,
        agreed,
        lambda c: c.info(num_features=33),
        lambda c: c.info(num_features=32),
    ),
    (
        "device.info.admin",
        S,
        agreed,
        lambda c: c.info(admin_vq_start=QUEUES, admin_vq_count=1),
        lambda c: c.info(admin_vq_start=QUEUES - 1, admin_vq_count=1),
    ),
    (
        "device.features.echo",
        S,
        known,
        lambda c: c.features(num=1),
        lambda c: c.features(num=3),
    ),
    (
        "device.features.same",
        S,
        known,
        lambda c: c.features(blocks=UNOFFERED),
        lambda c: c.features(),
    ),
    (
        "device.features.beyond",
        S,
        known,
        lambda c: c.features(2, told=2, blocks=1, count=1),
        lambda c: c.features(2, told=2, blocks=0, count=1),
    ),
    (
        "device.features.refused",
        S,
        acknowledged,
        lambda c: c.choose(UNOFFERED).status(OK),
        lambda c: c.choose(UNOFFERED).status(OK, told=3),
    ),
    (
        "device.status.reset",
        S,
        running,
        lambda c: c.status(0, told=1),
        lambda c: c.status(0, told=RUNNING),
    ),
    (
        "device.status.set",
        S,
        known,
        lambda c: c.status(1, told=3),
        lambda c: c.status(1, told=0x41),
    ),
    (
        "device.status.same",
        S,
        chosen,
        lambda c: c.ask(t.GET_DEVICE_STATUS, answer={"status": 3}),
        lambda c: c.ask(t.GET_DEVICE_STATUS, answer={"status": OK | 0x40}),
    ),
    ("device.config.echo", S, known, lambda c: c.config(told=1), lambda c: c.config(data=b"")),
    (
        "device.config.bound",
        S,
        known,
        lambda c: c.config(CONFIG_SIZE),
        lambda c: c.config(CONFIG_SIZE - 4),
    ),
    (
        "device.config.generation_not_zero",
        S,
        known,
        lambda c: c.config(generation=0),
        lambda c: c.config(generation=1),
    ),
    (
        "device.config.generation_forward",
        S,
        known,
        lambda c: c.config(generation=5).config(generation=4),
        lambda c: c.config(generation=0xFFFF_FFFF).config(generation=1),
    ),
    (
        "device.config.generation_changes",
        S,
        known,
        lambda c: c.config().config(data=b"abce"),
        lambda c: c.config().config().config(data=b"abce", generation=GENERATION + 1),
    ),
    (
        "device.config.event_generation",
        S,
        known,
        lambda c: c.changed(6).changed(6),
        lambda c: c.changed(6).changed(6, b"").changed(7),
    ),
    (
        "device.config.stale",
        S,
        known,
        lambda c: c.config().write(GENERATION - 1),
        lambda c: c.config().write(GENERATION - 1, told=0),
    ),
    (
        "device.config.coalesced",
        S,
        lambda: known(V2),
        lambda c: c.config().write(0, now=6).changed(7).write(0, now=7, told=0),
        lambda c: c.config().write(0, now=6).changed(7).write(0, now=8),
    ),
    (
        "device.config.length",
        S,
        known,
        lambda c: c.config().write(told=2),
        lambda c: c.config().write(told=0),
    ),
    (
        "device.queue.none",
        S,
        known,
        lambda c: c.look(QUEUES, maximum=1),
        lambda c: c.look(QUEUES, maximum=0),
    ),
    (
        "device.queue.told",
        S,
        placed,
        lambda c: c.look(**(c.placed() | {"size": 4})),
        lambda c: c.look(**c.placed()),
    ),
    (
        "device.queue.maximum",
        S,
        chosen,
        lambda c: c.look(maximum=2 * SIZE),
        lambda c: c.look(maximum=SIZE),
    ),
    (
        "device.queue.flags",
        S,
        lambda: placed(V2),
        lambda c: c.look(**(c.placed() | {"flags": 0})),
        lambda c: c.look(**c.placed()),
    ),
    (
        "device.queue.refused",
        S,
        placed,
        lambda c: c.queue(),
        lambda c: c.fail(t.SET_VQUEUE, index=0, **c.placed()),
    ),
    (
        "device.queue.again",
        S,
        running,
        lambda c: (reset(c), c.fail(t.SET_VQUEUE, index=0, **c.placed())),
        lambda c: (reset(c), c.queue()),
    ),
    (
        "device.used.running",
        S,
        placed,
        lambda c: c.event(t.EVENT_USED, index=0),
        lambda c: (c.status(RUNNING), c.event(t.EVENT_USED, index=0)),
    ),
    (
        "device.used.queue",
        S,
        running,
        lambda c: c.event(t.EVENT_USED, index=1),
        lambda c: c.event(t.EVENT_USED, index=0),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1].value}")
def test_a_rule_that_is_broken_is_told_and_its_neighbour_passes(case):
    rule, side, start, broken, kept = case
    talk = start()
    key = (rule, side)
    assert not talk.report[key].failed
    kept(talk)
    assert (talk.report[key].passed > 0, talk.report[key].failed) == (True, 0), talk.report[key]

    talk = start()
    before = talk.report[key].failed
    broken(talk)
    assert talk.report[key].failed > before
    assert talk.report[key].first


def test_every_rule_has_a_case():
    bound = {(rule.id, side) for rule in RULES.values() for side in rule.sides}
    assert {(case[0], case[1]) for case in CASES} == bound


@pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)
def test_a_bring_up_as_it_is_meant_to_be_breaks_nothing(generation):
    talk = running(generation)
    talk.tell(t.EVENT_AVAIL, index=0)
    talk.event(t.EVENT_USED, index=0)
    assert [each for each in talk.report if each.failed] == []
