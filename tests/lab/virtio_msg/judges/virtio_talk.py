"""Messages between a driver side and a device side that nobody runs, before both judges."""

from ffabric.abi.virtio import features as bits
from ffabric.abi.virtio_msg import ffa
from ffabric.abi.virtio_msg import transport as t
from ffabric.abi.virtio_msg.generations import PR28
from ffabric.abi.virtio_msg.message import build
from ffabric.lab.virtio_msg.judges.device_judge import DeviceJudge
from ffabric.lab.virtio_msg.judges.driver_judge import DriverJudge
from ffabric.lab.virtio_msg.judges.rules import Report

FEATURES = bits.VERSION_1 | bits.ACCESS_PLATFORM | bits.RING_RESET
ACK, DRIVER, OK, RUNNING = 1, 3, 0xB, 0xF
MAX_AREAS = 16
SIZE = 8
PLACE = {
    "size": SIZE,
    "desc_area": ffa.address(1),
    "driver_area": ffa.address(1, 0x400),
    "device_area": ffa.address(1, 0x800),
}
NO_PLACE = dict.fromkeys(PLACE, 0)
CONFIG_SIZE = 8
QUEUES = 2
GENERATION = 5
SAME = object()
"""An answer that repeats the fields of the request."""


class Talk:
    """Both sides see what the other has sent. `ask` takes the fields of request and answer."""

    def __init__(self, generation=PR28):
        self.generation = generation
        self.report = Report(generation)
        self.driver = DriverJudge(1, self.report)
        self.device = DeviceJudge(1, self.report)
        self.token = 1

    def build(self, kind, device=0, token=0, **fields):
        return build(kind, self.generation, device=device, token=token, **fields)

    def from_driver(self, data):
        self.driver.sent(data)
        self.device.received(data)

    def from_device(self, data):
        self.device.sent(data)
        self.driver.received(data)

    def ask(self, kind, device=0, answer=None, token=None, **fields):
        if token is None:
            self.token = token = self.token + 1
        self.from_driver(self.build(kind, device, token, **fields))
        if answer is not None:
            answer = fields if answer is SAME else answer
            self.answer(kind, device, token, **answer)

    def answer(self, kind, device=0, token=None, **fields):
        token = self.token if token is None else token
        self.from_device(self.build(kind, device, token, response=True, **fields))

    def fail(self, kind, device=0, **fields):
        """A request that is answered with ERROR."""
        self.ask(kind, device, **fields)
        self.answer(ffa.ERROR, device, msg_id=kind.id)

    def event(self, kind, device=0, **fields):
        self.from_device(self.build(kind, device, **fields))

    def tell(self, kind, device=0, **fields):
        self.from_driver(self.build(kind, device, **fields))

    # A bring-up, step by step.

    def version(self, version=ffa.BUS_VERSION, told=None, **more):
        own = {"bus_version": version if told is None else told, "revision": 1}
        answer = own | {"bus_features": 0x2F, "max_areas": MAX_AREAS} | more
        self.ask(ffa.VERSION, bus_version=version, revision=1, answer=answer)
        return self

    def share(self, area=1, result=0, told=None, **fields):
        given = {"handle": 7, "pages": 4, "attributes": int(ffa.NORMAL_SHARED)} | fields
        answer = {"area": area if told is None else told, "result": result}
        self.ask(ffa.AREA_SHARE, area=area, answer=answer, **given)
        return self

    def info(self, **fields):
        unit = 32 // self.generation.feature_unit
        told = {
            "device_id": 2,
            "num_features": 2 * unit,
            "config_size": CONFIG_SIZE,
            "max_virtqueues": QUEUES,
        }
        if self.generation.device_uuid:
            told["device_uuid"] = bytes(range(16))
        self.ask(t.GET_DEVICE_INFO, answer=told | fields)
        return self

    def features(self, index=0, *, blocks=FEATURES, num=2, told=0, count=2):
        data = blocks.to_bytes(4 * count, "little")
        self.ask(
            t.GET_DEVICE_FEATURES, index=index, num=num, answer={"index": told, "blocks": data}
        )
        return self

    def status(self, status, told=None):
        answer = {"status": status if told is None else told}
        self.ask(t.SET_DEVICE_STATUS, status=status, answer=answer)
        return self

    def choose(self, features=FEATURES):
        self.ask(t.SET_DRIVER_FEATURES, index=0, blocks=features.to_bytes(8, "little"), answer={})
        return self

    def look(self, index=0, maximum=SIZE, **told):
        self.ask(t.GET_VQUEUE, index=index, answer={"index": index, "max_size": maximum} | told)
        return self

    def queue(self, index=0, **changed):
        flags = {"flags": 1} if self.generation.queue_flags else {}
        self.ask(t.SET_VQUEUE, index=index, answer={}, **(PLACE | flags | changed))
        return self

    def placed(self):
        return PLACE | ({"flags": 1} if self.generation.queue_flags else {})

    def config(self, offset=0, *, data=b"abcd", generation=GENERATION, told=None):
        answer = {
            "generation": generation,
            "offset": offset if told is None else told,
            "data": data,
        }
        self.ask(t.GET_CONFIG, offset=offset, length=4, answer=answer)
        return self

    def write(self, generation=GENERATION, *, told=4, now=None):
        now = generation + 1 if now is None else now
        answer = {"generation": now, "offset": 0, "length": told}
        self.ask(t.SET_CONFIG, generation=generation, offset=0, data=b"efgh", answer=answer)
        return self

    def changed(self, generation, data=b"wxyz", offset=0):
        self.event(t.EVENT_CONFIG, status=0, generation=generation, offset=offset, data=data)
        return self


def fresh(generation=PR28):
    return Talk(generation)


def agreed(generation=PR28):
    return Talk(generation).version()


def known(generation=PR28):
    """An area is shared, and the device has said what it is."""
    return agreed(generation).share().info().features()


def acknowledged(generation=PR28):
    return known(generation).status(0).status(ACK).status(DRIVER)


def chosen(generation=PR28):
    return acknowledged(generation).choose().status(OK).look()


def placed(generation=PR28):
    return chosen(generation).queue()


def running(generation=PR28):
    talk = placed(generation)
    return talk.look(**talk.placed()).status(RUNNING)
