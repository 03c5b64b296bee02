"""The SVE hint of a function id (DEN0028 1.3, bit 16): it changes no answer, at no instance."""

import pytest

from ffabric.abi import psci, smccc
from ffabric.abi.ffa import functions as fid
from ffabric.abi.smccc import SVE_HINT
from ffabric.system.description.python import sp

NOT_SUPPORTED = 0xFFFF_FFFF_FFFF_FFFF
CALLS = [
    (fid.FFA_ID_GET,),
    (fid.FFA_VERSION, 0x10002),
    (fid.FFA_FEATURES, fid.FFA_MEM_SHARE_64),
    (fid.FFA_MSG_SEND_DIRECT_REQ_64, 0x8001),
    (fid.FFA_SPM_ID_GET,),
    (fid.FFA_MEM_RECLAIM, 77),
]
FOREIGN = [(psci.PSCI_VERSION,), (smccc.SMCCC_VERSION,), (psci.AFFINITY_INFO_64, 0, 0)]


def callers(ffabric):
    above = ffabric.boot(sps=[sp("s")], vms=["v"])
    yield above.vm("v").ffa
    yield above.sp("s").ffa
    yield ffabric.boot(sps=[sp("s")], vms=["k"], hypervisor=False).vm("k").ffa


@pytest.mark.parametrize("call", CALLS)
def test_the_framework_answers_alike(ffabric, call):
    if call[0] == fid.FFA_MSG_SEND_DIRECT_REQ_64:
        call = (call[0], 0x0001_7FFF)  # to nobody
    for ffa in callers(ffabric):
        function, *arguments = call
        assert ffa.call(function | SVE_HINT, *arguments) == ffa.call(function, *arguments)


@pytest.mark.parametrize("call", FOREIGN)
def test_psci_and_the_architecture_answer_alike(ffabric, call):
    v, _, kernel = callers(ffabric)
    for ffa in (v, kernel):
        function, *arguments = call
        answer = ffa.call(function, *arguments)
        assert answer[0] < 0x8000_0000
        assert ffa.call(function | SVE_HINT, *arguments) == answer


def test_a_yielding_call_has_no_hint(ffabric):
    for ffa in callers(ffabric):
        unknown = ffa.call(0x0400_0063 | SVE_HINT)
        assert unknown[0] in {NOT_SUPPORTED, fid.FFA_ERROR}
