"""The 64-bit forms of FFA_RUN, FFA_MSG_WAIT, FFA_YIELD and FFA_ERROR, which came with FF-A 1.3."""

import pytest
from chain_sides import links

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_2, V1_3
from ffabric.firmware.hypervisor.calls import SCHEDULER_CALLS, VM_CALLS
from ffabric.firmware.spmc.calls import NORMAL_WORLD_CALLS, SECURE_CALLS
from ffabric.firmware.state.context import State
from ffabric.firmware.state.interface.call_table import WIDE_FORMS
from ffabric.guests.errors import FfaError
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp, vm


@pytest.mark.parametrize("table", [VM_CALLS, SCHEDULER_CALLS, SECURE_CALLS, NORMAL_WORLD_CALLS])
def test_a_wide_form_is_offered_where_the_narrow_one_is(table):
    for wide, narrow in WIDE_FORMS.items():
        assert (wide in table) == (narrow in table)
        assert not table.offers(wide, V1_2)
        assert table.offers(wide, V1_3) == (narrow in table)


def test_a_context_waits_yields_and_runs_by_wide_forms(ffabric):
    v, s = links(ffabric, [sp("s", ffa_version=V1_3)], [vm("v", ffa_version=V1_3)])
    run = (fid.FFA_RUN_64, s.word)
    v.leave(*run)
    s.leave(fid.FFA_YIELD_64)
    assert v.x[0] == fid.FFA_YIELD
    v.leave(*run)
    s.leave(fid.FFA_MSG_WAIT_64)
    assert v.x[0] == fid.FFA_MSG_WAIT
    assert s.state is State.WAITING


def test_an_older_partition_has_none(ffabric):
    _, s = links(ffabric, [sp("s", ffa_version=V1_2)], ["v"])
    for function in WIDE_FORMS:
        with ffabric.refuses("abi.newer_than_negotiated"):
            s.must(function)


def test_who_gives_up_by_the_wide_form_has_given_up(ffabric):
    system = ffabric.boot(sps=[sp("s", ffa_version=V1_3)], vms=["v"], stop_on_crash=False)
    with pytest.raises(Blocked):
        system.sp("s").ffa.call(fid.FFA_ERROR_64, 0, Status.ABORTED & 0xFFFF_FFFF)
    with pytest.raises(FfaError) as error:
        system.vm("v").ffa.direct_request("s", 1)
    assert error.value.status is Status.ABORTED
