import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.firmware.state.context import Model
from ffabric.machine.translation.descriptors import XN

REGISTER = fid.FFA_SECONDARY_EP_REGISTER_64


@pytest.fixture
def starting(sp):
    sp.contexts[0].model = Model.SP_INIT
    return sp


@pytest.mark.parametrize("function", [REGISTER, fid.FFA_SECONDARY_EP_REGISTER_32])
def test_the_last_registered_entry_point_counts(bench, starting, function):
    base = bench.bases[starting.id]
    for entry in (base + 0x1000, base + 0x2004):
        bench.ok(starting, function, entry)
        assert starting.secondary_entry == entry


def test_a_partition_with_one_context_has_no_use_for_it(bench):
    up = bench.add(0x8001, contexts=1)
    assert bench.refused(up, REGISTER, bench.bases[up.id]) == "secondary.multiprocessor"


def test_it_is_for_the_initialisation(bench, sp):
    assert bench.refused(sp, REGISTER, bench.bases[sp.id]) == "secondary.initialising"


def test_the_entry_point_must_be_executable(bench, starting):
    base = bench.bases[starting.id]
    starting.stage2.update(base + 0x1000, 1, 0, XN)
    for entry in (base + 2, base + 0x1000, base - 4, 1 << 40, 0xFFFF_FFFF_FFFF_FFFC):
        assert bench.refused(starting, REGISTER, entry) == "secondary.entry_point"
    assert starting.secondary_entry is None


def test_the_entry_point_is_not_in_the_buffers(bench, starting):
    base = bench.bases[starting.id]
    bench.give_mailbox(starting)
    for entry in (base, base + 0x1000, base + 0x1FFC):
        assert bench.refused(starting, REGISTER, entry) == "secondary.entry_point"
    bench.ok(starting, REGISTER, base + 0x2000)
