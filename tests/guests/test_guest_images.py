"""The AArch64 images, against the calls they should make."""

import pytest

from ffabric.guests import images
from ffabric.machine import exits
from ffabric.machine.bus import Bus
from ffabric.machine.clock import Clock
from ffabric.machine.context import Context
from ffabric.machine.engines.unicorn.engine import UnicornEngine
from ffabric.machine.memory import PhysicalMemory
from ffabric.machine.translation import descriptors as s2
from ffabric.machine.translation.pages import PagePool
from ffabric.machine.translation.stage2 import Stage2

FFA_ERROR = 0x84000060
FFA_INTERRUPT = 0x84000062
FFA_VERSION = 0x84000063
FFA_ID_GET = 0x84000069
FFA_MSG_WAIT = 0x8400006B
FFA_RUN = 0x8400006D
REQ_32, RESP_32 = 0x8400006F, 0x84000070
REQ_64, RESP_64 = 0xC400006F, 0xC4000070
REQ2, RESP2 = 0xC400008D, 0xC400008E
INFO_REGS = 0xC400008B
SUCCESS, SUCCESS_64 = 0x84000061, 0xC4000061
SYSTEM_OFF = 0x84000008
RAM = 0x4000_0000


@pytest.fixture
def boot():
    """Start an image; what comes back makes a call's answer and returns the next call."""
    memory = PhysicalMemory()
    memory.add("ram", RAM, 0x20_0000, secure=False)
    pool = PagePool(memory, RAM + 0x10_0000, 16)
    engine = UnicornEngine(memory=memory, bus=Bus(), clock=Clock())

    def start(name, level):
        stage2 = Stage2(memory, pool, vmid=1)
        attributes = s2.MEMATTR_NORMAL_WB | s2.S2AP_R | s2.AF | s2.VALID
        stage2.map(0x8000_0000, RAM, 1, attributes)
        memory.write(RAM, images.load(name), secure=False)
        ctx = Context(name, 0, secure=False, stage2=stage2)
        runner = engine.runner(level=level, mpidr=0, secure=False, stage2=stage2)
        runner.start(0x8000_0000, 0)

        def call(*answer):
            seen = []

            def trap(_ctx, exit_):
                seen.append(exit_)
                return False

            ctx.x[:] = (*answer, *[0] * (18 - len(answer)))
            runner.run(ctx, trap)
            return exits.NAMES[seen[0]], list(ctx.x)

        return call

    yield start
    memory.close()


@pytest.fixture(params=[("adder_smc", 1, "SMC"), ("adder_svc", 0, "SVC")], ids=lambda p: p[0])
def adder(boot, request):
    name, level, conduit = request.param
    call = boot(name, level)

    def through(*answer):
        seen, x = call(*answer)
        assert seen == conduit
        return x

    assert through()[:2] == [FFA_VERSION, 0x10002]
    assert through(0x10002)[:8] == [FFA_MSG_WAIT] + [0] * 7
    return through


def test_the_adder_adds_32_bits(adder):
    x = adder(REQ_32, 0x0001_8002, 0, 0xFFFF_FFFF, 2, 30, 40, 50)
    assert x[:8] == [RESP_32, 0x8002_0001, 0, 1, 2, 30, 40, 50]


def test_the_adder_adds_64_bits(adder):
    x = adder(REQ_64, 0x0001_8002, 0, 1 << 40, 2, 30, 40, 50)
    assert x[:8] == [RESP_64, 0x8002_0001, 0, (1 << 40) + 2, 2, 30, 40, 50]


def test_the_adder_answers_requests_to_a_service(adder):
    x = adder(REQ2, 0x0001_8002, 77, 88, *range(100, 114))
    assert x == [RESP2, 0x8002_0001, 0, 0, 201, *range(101, 114)]


def test_the_adder_waits_after_everything_else(adder):
    for other in (FFA_INTERRUPT, FFA_RUN, FFA_ERROR):
        assert adder(other, 1, 2, 3, 4, 5, 6, 7)[:8] == [FFA_MSG_WAIT] + [0] * 7


@pytest.fixture(params=[("client_smc", "SMC"), ("client_hvc", "HVC")], ids=lambda p: p[0])
def client(boot, request):
    name, conduit = request.param
    call = boot(name, 1)

    def through(*answer):
        seen, x = call(*answer)
        assert seen == conduit
        return x

    assert through()[:2] == [FFA_VERSION, 0x10002]
    assert through(0x10002)[0] == FFA_ID_GET
    assert through(SUCCESS, 0, 0x0001)[:4] == [INFO_REGS, 0, 0, 0]
    x = through(SUCCESS_64, 0, 0, 0x1_0001, 0, 0, 0x1_8003, 0, 0, 0x1_8004)
    assert x[:8] == [REQ_64, 0x0001_8003, 0, 0, 1, 0, 0, 0]
    return through


def test_the_client_asks_64_times_and_turns_off(client):
    for n in range(64):
        x = client(RESP_64, 0x8003_0001, 0, 2 * n + 1)
    assert x[0] == SYSTEM_OFF


def test_the_client_goes_on_after_an_interrupt_and_tries_again_when_busy(client):
    assert client(FFA_INTERRUPT, 0x8003_0000)[:8] == [FFA_RUN, 0x8003_0000] + [0] * 6
    x = client(RESP_64, 0x8003_0001, 0, 1)
    assert x[:5] == [REQ_64, 0x0001_8003, 0, 1, 2]
    assert client(FFA_ERROR, 0, 0xFFFF_FFFC)[:5] == x[:5]


def test_the_client_does_not_accept_a_wrong_sum(boot):
    call = boot("client_smc", 1)
    for answer in ((), (0x10002,), (SUCCESS, 0, 1), (SUCCESS_64, 0, 0, 0x1_8002)):
        call(*answer)
    name, _ = call(RESP_64, 0, 0, 2)
    assert name == "ABORT"  # its vectors are at 0, where it has no memory


def test_an_image_has_a_name():
    with pytest.raises(ValueError, match="adder_smc"):
        images.load("multiplier")
    assert all(images.load(name) for name in images.NAMES)
