"""Whatever is in the registers, in whatever version: a call is answered, and nothing is raised."""

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.version import VERSIONS
from ffabric.abi.words import MASK64
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import sp, vm

HIGH = 0xA5A5_A5A5 << 32
PATTERNS = (
    [MASK64] * 17,
    [HIGH] * 17,
    [HIGH | 1] * 17,
    [HIGH | n for n in range(1, 18)],
    [1, *[MASK64] * 16],
    [0, *[HIGH] * 16],
    [1 << 31 | 1] * 17,
)
LAST = {fid.FFA_ERROR, fid.FFA_ERROR_64, fid.FFA_VERSION, fid.FFA_ABORT_32, fid.FFA_ABORT_64}
"""Its caller gives up, or agrees on another version."""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("world", ["sp", "vm", "kernel"])
def test_every_call_is_answered(ffabric, version, world):
    asked = {"ffa_version": version, "messaging_method": 3}
    kernel = vm("v", el=2, **asked) if world == "kernel" else vm("v", **asked)
    system = None
    for function in sorted({*fid.FUNCTIONS} - LAST):
        for registers in PATTERNS:
            if system is None:
                system = ffabric.boot(
                    sps=[sp("s", **asked)], vms=[kernel], hypervisor=world != "kernel"
                )
            caller = system.sp("s") if world == "sp" else system.vm("v")
            try:
                x = caller.ffa.call(function, *registers)
            except Blocked:
                system = None
                break
            assert all(0 <= each <= MASK64 for each in x)
