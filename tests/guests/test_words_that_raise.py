"""Registers of a Python partition may hold objects that raise: then they are its own crash."""

import pytest

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.state import checking
from ffabric.guests.partition import Partition
from ffabric.lab.oracle.ledger import Ledger
from ffabric.system.crash import PartitionCrashed

OPERATORS = [
    *("__and__", "__rand__", "__or__", "__ror__", "__xor__", "__rxor__", "__add__", "__radd__"),
    *("__sub__", "__rsub__", "__lshift__", "__rlshift__", "__rshift__", "__rrshift__", "__neg__"),
    *("__invert__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__"),
    *("__bool__", "__index__", "__int__", "__mul__", "__rmul__", "__mod__", "__floordiv__"),
]


class Odd(Exception):  # noqa: N818 - what only this file raises
    """What the operators raise."""


class Fuse:
    """Lets so many operators of its words do what they should, and the next one raise."""

    def __init__(self, operators):
        self.left = operators
        self.blown = False

        def operator(name):
            def compute(word, *others):
                self.left -= 1
                if self.left < 0:
                    self.blown = True
                    raise Odd(name)
                return getattr(int, name)(word, *others)

            return compute

        self.word = type("Word", (int,), {name: operator(name) for name in OPERATORS})


class Caller(Partition):
    """Makes one call when it is asked to, as an SP, or when it is woken, as a VM."""

    uuid = "1a6c66d5-4d1d-4f5c-9c0e-2f4f6c9f3a01"

    def __init__(self, registers, fuse, odd):
        super().__init__("caller")
        self.registers = [fuse.word(each) if n in odd else each for n, each in enumerate(registers)]
        self.fuse = fuse

    async def on_direct_request(self, request, ffa):
        await self.call(ffa)
        return request.respond()

    async def call(self, ffa):
        await ffa.map_buffers()
        await ffa.call(*self.registers)
        self.fuse.left = 1 << 30

    async def main(self, ffa):
        if ffa.vcpu.secure:
            await super().main(ffa)
        await ffa.idle()
        await self.call(ffa)


class Echo(Partition):
    uuid = "1a6c66d5-4d1d-4f5c-9c0e-2f4f6c9f3a02"

    async def on_direct_request(self, request, ffa):
        return request.respond(*request.payload[:2])


CALLS = {
    "version": (fid.FFA_VERSION, 0x1_0002),
    "features": (fid.FFA_FEATURES, fid.FFA_RXTX_MAP_64),
    "map": (fid.FFA_RXTX_MAP_64, 0x1000, 0x2000, 1),
    "discovery": (fid.FFA_PARTITION_INFO_GET, 0, 0, 0, 0, 0),
    "run": (fid.FFA_RUN, 0x8001_0000),
    "bind": (fid.FFA_NOTIFICATION_BIND, 0x8001_0001, 0, 1, 0),
    "get": (fid.FFA_NOTIFICATION_GET, 0, 0b11),
    "share": (fid.FFA_MEM_SHARE_32, 0x90, 0x90, 0, 0),
    "reclaim": (fid.FFA_MEM_RECLAIM, 1, 0, 0),
    "send": (fid.FFA_MSG_SEND2, 0),
    "psci": (psci.CPU_ON_64, 0, 0, 0),
    "nothing": (0xC400_FFFF, 1, 2),
}
ODD = {"x0": {0}, "x1": {1}, "x3 and x4": {3, 4}, "all": set(range(18))}


def boot(ffabric, caller, *, secure):
    """The caller as an SP or a VM beside others, who go on when it crashes."""
    sps, vms = ([Echo(), caller], ["client"]) if secure else ([Echo()], ["client", caller])
    session = ffabric.boot(sps=sps, vms=vms, stop_on_crash=False)
    ledger = Ledger(session.system, strict=False)
    session.system.attach(ledger)
    return session, ledger


def let_call(session, *, secure):
    """The caller makes its call."""
    if secure:
        session.vm("client").ffa.call(fid.FFA_MSG_SEND_DIRECT_REQ_32, 0x1_8002)
    else:
        session.system.wake_vm("caller")
        session.run()


@pytest.mark.parametrize("secure", [True, False], ids=["sp", "vm"])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("registers", CALLS.values(), ids=CALLS)
def test_a_word_that_raises_in_the_middle_of_a_call_crashes_only_its_partition(
    ffabric, registers, odd, secure
):
    """After each number of operators in turn, until the call is done before one raises."""
    registers = [*registers, *[0] * (18 - len(registers))]
    for operators in range(100):
        fuse = Fuse(operators)
        session, ledger = boot(ffabric, Caller(registers, fuse, odd), secure=secure)
        with session, checking.checked():
            let_call(session, secure=secure)
            echo = session.vm("client").ffa.direct_request(Echo, 3, 4)
            assert echo.payload[:2] == (3, 4)
            ledger.check()
            crashes = [each for each in session.system.deaths if each.name == "caller"]
            assert len(session.system.deaths) == len(crashes) == fuse.blown
            if not fuse.blown:
                return
            assert crashes[0].reason.startswith("Odd: __")
    pytest.fail("the call has no end")


def test_a_word_without_operators_is_its_partitions_crash(ffabric):
    class Number:
        """What `struct` takes for an integer, and nobody can compute with."""

        def __index__(self):
            return 0

    class Asks(Partition):
        async def on_direct_request(self, request, ffa):
            await ffa.call(fid.FFA_FEATURES, Number())
            return request.respond()

    system = ffabric.boot(sps=[Asks()], vms=["client"])
    with pytest.raises(PartitionCrashed) as crash:
        system.vm("client").ffa.direct_request(Asks)
    assert crash.value.reason.startswith("TypeError: unsupported operand")


def test_words_of_a_class_of_their_own_that_compute_are_words(ffabric):
    class Handle(int):
        """An integer with a name."""

    class Asks(Partition):
        async def on_direct_request(self, request, ffa):
            x = await ffa.call(fid.FFA_FEATURES, Handle(fid.FFA_RXTX_MAP_64), True)
            return request.respond(Handle(x[0]))

    system = ffabric.boot(sps=[Asks()], vms=["client"])
    assert system.vm("client").ffa.direct_request(Asks).payload[0] == fid.FFA_SUCCESS_32


def test_what_a_listener_raises_is_no_crash_of_who_has_made_the_call(ffabric):
    class Handle(int):
        """An integer with a name."""

    class Asks(Partition):
        async def on_direct_request(self, request, ffa):
            await ffa.call(Handle(fid.FFA_MEM_RECLAIM))
            return request.respond()

    def hears(pe, refusal):
        raise Odd("nobody's word")

    system = ffabric.boot(sps=[Asks()], vms=["client"])
    system.system.heard = hears
    with pytest.raises(Odd):
        system.vm("client").ffa.direct_request(Asks)
    assert not system.system.deaths
