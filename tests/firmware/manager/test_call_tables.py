"""What each instance of the Framework answers to each function id there is."""

import pytest
from chain_sides import links

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.version import V1_3
from ffabric.firmware.hypervisor.calls import SCHEDULER_CALLS, VM_CALLS
from ffabric.firmware.spmc.calls import NORMAL_WORLD_CALLS, SECURE_CALLS
from ffabric.system.description.python import sp, vm

LAST = {fid.FFA_ERROR, fid.FFA_MSG_WAIT, fid.FFA_YIELD}
LEAVING = {fid.FFA_RUN, psci.CPU_OFF}
IDS = [base | n for base in (0x8400_0000, 0xC400_0000) for n in range(0x60, 0xF0)]
TABLES = {
    "vm": VM_CALLS,
    "scheduler": SCHEDULER_CALLS,
    "sp": SECURE_CALLS,
    "kernel": NORMAL_WORLD_CALLS,
}
OF_THE_MONITOR = {fid.FFA_ID_GET, fid.FFA_SPM_ID_GET}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_only_functions_of_the_framework_are_offered(table):
    ffa = [function for function in table.handlers if fid.is_ffa(function)]
    assert not [hex(function) for function in ffa if function not in fid.FUNCTIONS]


@pytest.mark.parametrize("who", TABLES)
def test_an_instance_answers_what_it_offers_and_refuses_the_rest(ffabric, who):
    if who == "kernel":
        caller, _ = links(ffabric, ["s"], ["k"], hypervisor=False)
    elif who == "sp":
        _, caller = links(ffabric, ["s"], ["v"])
    else:
        caller, _ = links(ffabric, ["s"], [vm("v", has_primary_scheduler=who == "scheduler")])
    table = TABLES[who]
    caller.ffa.id_get()
    for function in IDS:
        if function in LAST | LEAVING or function in OF_THE_MONITOR:
            continue
        before = caller.session.system.refusals.get("abi.unknown_function", 0)
        caller.call(function)
        after = caller.session.system.refusals.get("abi.unknown_function", 0)
        assert (after > before) == (function not in table), hex(function)  # type: ignore[operator]


@pytest.mark.parametrize("who", ["v", "s"])
def test_an_unknown_function_is_refused(ffabric, who):
    session = links(ffabric, ["s"], ["v"])
    caller = next(each for each in session if each.name == who)
    for function in (0x8400_00E0, 0xC400_00E0, 0x8400_00EF):
        with ffabric.refuses("abi.unknown_function"):
            caller.must(function)


@pytest.mark.parametrize("who", ["v", "s", "k"])
@pytest.mark.parametrize("function", fid.KNOWN_BY_NAME, ids=fid.KNOWN_BY_NAME.get)
def test_a_call_that_is_known_by_name_alone_is_not_supported(ffabric, who, function):
    newest = sp("s", ffa_version=V1_3)
    session = links(ffabric, [newest], ["k" if who == "k" else "v"], hypervisor=who != "k")
    caller = next(each for each in session if each.name == who)
    assert caller.call(fid.FFA_VERSION, V1_3)[0] == V1_3
    with ffabric.refuses("abi.unknown_function"):
        caller.must(function)
    with ffabric.refuses("features.function"):
        caller.must(fid.FFA_FEATURES, function)
