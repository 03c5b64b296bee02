"""Reserved registers: MBZ refused, SBZ reported and read as zero, or refused in a strict system."""

import pytest

import ffabric.system.booting.boot  # noqa: F401 - all rooms of the firmware
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.reserved import defined, judged
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import LATEST, V1_0, V1_1, V1_2, VERSIONS, format_version
from ffabric.abi.words import MASK32
from ffabric.firmware.state import reply
from ffabric.firmware.state.events import ReservedBits
from ffabric.firmware.state.interface.call_table import CallTable
from ffabric.firmware.state.interface.conventions import SPECIFICATION, Conventions
from ffabric.firmware.state.rules import RULES

GENERAL = "abi.reserved_registers_mbz"
STRICT = "abi.reserved_registers_sbz"
STRICT_CONVENTIONS = Conventions(enforce=[STRICT])
NEVER_REFUSED = {fid.FFA_ERROR, fid.FFA_ERROR_64}
NO_VERSION_YET = {fid.FFA_VERSION}
CALLS = [
    pytest.param(function, version, id=f"{function.name}-{format_version(version)}")
    for function in fid.FUNCTIONS.values()
    for version in VERSIONS
    if function.defined_in(version) and (function.id not in NO_VERSION_YET or version == LATEST)
]


class Listener:
    """In place of every handler: keeps what it finds in the registers."""

    def __init__(self):
        self.heard = None

    def __call__(self, manager, pe, caller):
        self.heard = caller.x[1:8]
        reply.success(caller.x)
        return caller


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def bench(one_bench):
    """One partition manager for all: nothing but a partition's version and table changes in it."""
    one_bench.conventions = SPECIFICATION
    one_bench.tracer.events.clear()
    return one_bench


@pytest.fixture(params=[fid.Instance.S_VIRTUAL, fid.Instance.NS_PHYSICAL])
def caller(request, bench, listener):
    partition = bench.partitions.get(0x8001) or bench.add(0x8001)
    handlers = dict.fromkeys(fid.FUNCTIONS, listener)
    partition.allow(CallTable(always=handlers, at=request.param), V1_2)
    return partition


def reserved_bits(caller, function):
    """(reserved bits, registers that hold the lowest or the highest of them)"""
    for each in judged(function.id, caller.version, virtual=caller.calls.virtual):
        low, high = each.mask & -each.mask, 1 << each.mask.bit_length() - 1
        for bit in (low, high):
            x = [function.id, *[0] * 7]
            x[each.register] = bit
            yield each, x


def must_be_zero(function, each):
    return each.rule == "MBZ" and function.id not in NEVER_REFUSED | NO_VERSION_YET


def refused(bench, caller, x):
    """The rule that refuses the call, as its caller learns it."""
    bench.call_with(caller, *x)
    rule = RULES[bench.tracer.refusals[-1].rule]
    if x[0] == fid.FFA_VERSION:
        assert caller.contexts[0].x[0:8] == [Status.NOT_SUPPORTED.register, *[0] * 7]
    else:
        assert caller.contexts[0].x[0:3] == [fid.FFA_ERROR, 0, rule.status.register]
    return rule


@pytest.mark.parametrize(("function", "version"), CALLS)
def test_what_must_be_zero_is_refused(bench, caller, listener, function, version):
    caller.allow(caller.calls, version)
    for each, x in reserved_bits(caller, function):
        if must_be_zero(function, each):
            rule = refused(bench, caller, x)
            own = rule.id.split(".")[0] != "abi"
            assert rule.id == GENERAL or (own and rule.holds(version)), rule.id
            assert listener.heard is None


@pytest.mark.parametrize(("function", "version"), CALLS)
def test_what_should_be_zero_is_reported_and_read_as_zero(
    bench, caller, listener, function, version
):
    caller.allow(caller.calls, version)
    for each, x in reserved_bits(caller, function):
        if not must_be_zero(function, each):
            bench.tracer.events.clear()
            assert bench.call_with(caller, *x)[0] == fid.FFA_SUCCESS_32
            assert listener.heard == [0] * 7
            (event,) = bench.tracer.events
            assert isinstance(event, ReservedBits)
            assert (event.call, event.register) == (function.name, each.name)
            assert event.value == x[each.register]


@pytest.mark.parametrize(("function", "version"), CALLS)
def test_a_strict_system_refuses_what_should_be_zero(bench, caller, listener, function, version):
    caller.allow(caller.calls, version)
    bench.conventions = STRICT_CONVENTIONS
    for each, x in reserved_bits(caller, function):
        if function.id in NEVER_REFUSED:
            bench.call_with(caller, *x)
            assert listener.heard == [0] * 7
        elif not must_be_zero(function, each):
            assert refused(bench, caller, x).id == STRICT
            assert listener.heard is None


@pytest.mark.parametrize(("function", "version"), CALLS)
def test_what_the_call_defines_reaches_its_handler(bench, caller, listener, function, version):
    caller.allow(caller.calls, version)
    bench.conventions = STRICT_CONVENTIONS
    full = defined(function.id, version, virtual=caller.calls.virtual)
    bench.call_with(caller, function.id, *full)
    assert listener.heard == [*full]
    assert not bench.tracer.events


@pytest.mark.parametrize("function", [fid.FFA_MEM_SHARE_64, fid.FFA_MSG_SEND_DIRECT_REQ_64])
def test_the_upper_half_of_a_w_register_is_no_part_of_the_call(bench, caller, listener, function):
    bench.conventions = STRICT_CONVENTIONS
    bench.call_with(caller, function, 0xDEAD_BEEF_8001_0002)
    assert listener.heard[0] == 0x8001_0002
    assert not bench.tracer.refusals


def test_registers_behind_x7_are_not_looked_at(bench, caller, listener):
    bench.conventions = STRICT_CONVENTIONS
    stale = [1] * 10
    for function in (fid.FFA_RUN, fid.FFA_MEM_SHARE_64, fid.FFA_MSG_SEND_DIRECT_REQ_64):
        bench.call_with(caller, function, *[0] * 7, *stale)
        assert listener.heard == [0] * 7


@pytest.mark.parametrize(
    ("version", "call", "rule"),
    [
        (V1_0, (fid.FFA_MSG_WAIT, 0, 1), GENERAL),
        (V1_2, (fid.FFA_MSG_WAIT, 0, 2), "wait.flags_mbz"),
        (V1_1, (fid.FFA_YIELD, 0, 0, 0, 1), "yield.mbz"),
        (V1_1, (fid.FFA_MSG_SEND_DIRECT_REQ_32, 1, 0x100), "direct.req.flags_mbz"),
        (V1_1, (fid.FFA_MSG_SEND_DIRECT_RESP_64, 1, 0x100), "direct.resp.flags_mbz"),
        (V1_1, (fid.FFA_MEM_RECLAIM, 1, 0, 4), "mem.reclaim.flags"),
        (V1_1, (fid.FFA_RXTX_MAP_64, 0, 0, 0x40), "rxtx.map.page_count"),
        (V1_0, (fid.FFA_PARTITION_INFO_GET, 0, 0, 0, 0, 1), GENERAL),
    ],
)
def test_where_a_call_has_a_rule_of_its_own_that_one_refuses(bench, caller, version, call, rule):
    caller.allow(caller.calls, version)
    assert refused(bench, caller, [*call]).id == rule


def test_a_refusal_says_which_register_and_what_was_there(bench, caller):
    caller.allow(caller.calls, V1_0)
    refused(bench, caller, [fid.FFA_RUN, 0x8002_0000, 0, 0x55])
    refusal = bench.tracer.refusals[-1]
    assert refusal.got == "w3 = 0x55"
    assert refusal.expected == "w3 & 0xffffffff = 0 (MBZ of FFA_RUN)"


def test_every_rule_of_a_reserved_register_exists():
    from ffabric.firmware.manager import reserved

    names = {function.base_name for function in fid.FUNCTIONS.values()}
    for (call, register), rule in reserved._OWN_RULES.items():
        assert call in names
        assert rule in RULES
        found = [
            each
            for function in fid.FUNCTIONS.values()
            if function.base_name == call
            for version in VERSIONS
            for each in judged(function.id, version, virtual=True)
        ]
        assert any(each.register == register and each.rule == "MBZ" for each in found), call


# Whole systems.


def stale(x):
    """A call with values in the registers that it does not use."""
    return [*x, *[0x55] * (8 - len(x))]


def test_a_vm_with_stale_registers_is_served_and_what_is_passed_on_is_clean(ffabric):
    system = ffabric.boot(sps=["sp"], vms=["vm"])
    vm, sp = system.vm("vm"), system.sp("sp")
    answer = vm.ffa.call(*stale([fid.FFA_PARTITION_INFO_GET, 0, 0, 0, 0, 1]))
    assert answer[0] == fid.FFA_SUCCESS_32
    answer = vm.ffa.call(*stale([fid.FFA_FEATURES, fid.FFA_RUN, 0]))
    assert answer[0] == fid.FFA_SUCCESS_32
    assert sp.ffa.call(*stale([fid.FFA_ID_GET]))[2] == sp.id


def test_a_strict_system_refuses_both_worlds(ffabric):
    system = ffabric.boot(sps=["sp"], vms=["vm"], strict=True)
    for partition in (system.vm("vm"), system.sp("sp")):
        with ffabric.refuses(STRICT):
            partition.ffa.call(*stale([fid.FFA_ID_GET]))
        assert partition.ffa.call(fid.FFA_ID_GET)[2] & MASK32 == partition.id


def test_el3_judges_what_it_answers_itself(ffabric):
    system = ffabric.boot(sps=["sp"], vms=["kernel"], hypervisor=False, strict=True)
    kernel = system.vm("kernel")
    with ffabric.refuses(STRICT):
        kernel.ffa.call(*stale([fid.FFA_SPM_ID_GET]))
    assert kernel.ffa.call(fid.FFA_SPM_ID_GET)[0] == fid.FFA_SUCCESS_32
