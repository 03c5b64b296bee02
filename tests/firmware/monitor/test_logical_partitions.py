"""Logical partitions at EL3: one that answers, beside the SPMD's own, which does not."""

from uuid import UUID

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import MASK32, pack_ids
from ffabric.firmware.monitor.logical import SPMD_PARTITION
from ffabric.firmware.state.events import Logical
from ffabric.guests.errors import status_of
from ffabric.session.ffa import Blocked
from ffabric.system.spec import LogicalSpec, MonitorSpec, PythonSource

ADDER = 0xFFC5
UUID_OF_ADDER = UUID("0a1b2c3d-0000-4000-8000-000000000005")
REQ32, RESP32 = fid.FFA_MSG_SEND_DIRECT_REQ_32, fid.FFA_MSG_SEND_DIRECT_RESP_32
REQ64, RESP64 = fid.FFA_MSG_SEND_DIRECT_REQ_64, fid.FFA_MSG_SEND_DIRECT_RESP_64
REQ2, RESP2 = fid.FFA_MSG_SEND_DIRECT_REQ2, fid.FFA_MSG_SEND_DIRECT_RESP2
WIDE = 1 << 40
SYSTEMS = {
    "vm": {"sps": ["s"], "vms": ["v"]},
    "sp": {"sps": ["s"], "vms": ["v"]},
    "kernel": {"sps": ["s"], "vms": ["v"], "hypervisor": False},
}


def add(words):
    """The sum of all words, and how many there were."""
    return [sum(words), len(words)]


MONITOR = MonitorSpec(
    spmd_logical_partition=True,
    logical_partitions=(
        LogicalSpec(name="adder", id=ADDER, uuid=UUID_OF_ADDER, serve=PythonSource(add)),
    ),
)


@pytest.fixture
def callers(ffabric):
    """Boots a system in which somebody may ask the adder."""

    def make(kind):
        system = ffabric.boot(**SYSTEMS[kind], monitor=MONITOR)  # type: ignore[arg-type]
        caller = system.sp("s") if kind == "sp" else system.vm("v")
        caller.system = system
        return caller

    return make


@pytest.fixture(params=SYSTEMS)
def caller(request, callers):
    return callers(request.param)


def ask(caller, function, receiver, *payload):
    unused = (0, 0) if function == REQ2 else (0,)
    return caller.ffa.call(function, pack_ids(caller.id, receiver), *unused, *payload)


@pytest.mark.parametrize(
    ("function", "answer", "words"), [(REQ32, RESP32, 5), (REQ64, RESP64, 5), (REQ2, RESP2, 14)]
)
def test_it_answers_at_once(caller, function, answer, words):
    wide = 0 if function == REQ32 else WIDE
    x = ask(caller, function, ADDER, 1, 2, wide)
    first = 4 if function == REQ2 else 3
    assert (x[0], x[1]) == (answer, pack_ids(ADDER, caller.id))
    assert not any(x[2:first])
    assert x[first : first + 2] == (3 + wide, words)
    assert not any(x[first + 2 : 8])
    assert caller.ffa.id_get() == caller.id


def test_a_trace_tells_who_has_answered(caller):
    heard = []

    class Tracer:
        def record(self, event):
            if isinstance(event, Logical):
                heard.append(event.partition)

    caller.system.system.attach(Tracer())
    ask(caller, REQ64, ADDER)
    assert heard == ["adder"]


def test_the_one_of_the_spmd_receives_nothing(caller):
    x = ask(caller, REQ64, SPMD_PARTITION.id)
    assert (x[0], status_of(x[2])) == (fid.FFA_ERROR, Status.DENIED)
    assert ask(caller, REQ64, ADDER)[0] == RESP64


def test_nobody_is_at_an_id_between_them(caller):
    x = ask(caller, REQ64, ADDER - 1)
    assert (x[0], status_of(x[2])) == (fid.FFA_ERROR, Status.INVALID_PARAMETERS)


@pytest.mark.parametrize("kind", ["vm", "sp"])  # a kernel speaks for its world
def test_nobody_asks_in_the_name_of_another(ffabric, callers, kind):
    caller = callers(kind)
    with ffabric.refuses("direct.req.sender"):
        caller.ffa.call(REQ64, pack_ids(caller.id ^ 2, ADDER), 0, 7)


def test_sps_discover_it(callers):
    caller = callers("sp")
    found = caller.ffa.partition_info_regs()
    assert {each.id for each in found} >= {ADDER, SPMD_PARTITION.id}
    (one,) = [each for each in found if each.id == ADDER]
    assert one.uuid == UUID_OF_ADDER


@pytest.mark.parametrize("kind", ["vm", "kernel"])
def test_an_sp_in_the_middle_of_a_request_may_ask_it(callers, kind):
    caller = callers(kind)
    sp = caller.system.sp("s")
    with pytest.raises(Blocked):
        caller.ffa.call(REQ64, pack_ids(caller.id, sp.id), 0, 4)
    x = ask(sp, REQ64, ADDER, sp.ffa.x[3], 5)
    with pytest.raises(Blocked):
        sp.ffa.call(RESP64, pack_ids(sp.id, caller.id), 0, x[3])
    assert caller.ffa.x[3] & MASK32 == 9


def test_there_is_none_that_nobody_has_described(ffabric):
    system = ffabric.boot(sps=["s", "t"], vms=["v"])
    assert {each.id for each in system.sp("s").ffa.partition_info_regs()} == {0x8001, 0x8002}
    with ffabric.refuses("direct.req.to_normal_world"):
        ask(system.sp("s"), REQ64, SPMD_PARTITION.id)
