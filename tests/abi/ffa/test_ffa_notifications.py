"""Lists of pending notifications in registers, bitmaps, flags."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi.errors import DecodeError
from ffabric.abi.ffa import notifications as nf
from ffabric.abi.ffa.notifications import PendingInfo, PendingList

FUZZ = settings(derandomize=True, deadline=None, max_examples=80, database=None)

# The example of DEN0077A v1.2, 16.7.1.1.
EXAMPLE = PendingInfo(
    (PendingList(0, (0, 2, 3)), PendingList(0, (4, 6)), PendingList(2), PendingList(3, (1,)))
)
EXAMPLE_32 = [0x4B200, 0x0, 0x30002, 0x40000, 0x20006, 0x10003]
EXAMPLE_64 = [0x4B200, 0x0003_0002_0000_0000, 0x0002_0006_0004_0000, 0x1_0003, 0, 0]


@pytest.mark.parametrize(("smc64", "registers"), [(False, EXAMPLE_32), (True, EXAMPLE_64)])
def test_the_example_of_the_specification(smc64, registers):
    assert nf.build_pending(EXAMPLE, smc64=smc64) == registers
    assert nf.parse_pending(registers, smc64=smc64) == EXAMPLE


def test_more_pending():
    registers = nf.build_pending(PendingInfo((PendingList(7),), more=True), smc64=True)
    assert registers == [0x81, 7, 0, 0, 0, 0]
    assert nf.parse_pending(registers, smc64=True).more


def test_upper_halves_of_a_32_bit_answer_are_not_data():
    poisoned = [register | 0xDEAD_BEEF << 32 for register in EXAMPLE_32]
    assert nf.parse_pending(poisoned, smc64=False) == EXAMPLE


ids = st.integers(0, 0xFFFF)
lists = st.lists(
    st.builds(PendingList, ids, st.lists(ids, max_size=3).map(tuple)), max_size=20
).map(tuple)


@FUZZ
@given(info=st.builds(PendingInfo, lists, st.booleans()), smc64=st.booleans())
def test_build_parse(info, smc64):
    room = nf.INFO_MAX_IDS_64 if smc64 else nf.INFO_MAX_IDS_32
    if sum(1 + len(pending.vcpus) for pending in info.lists) > room:
        with pytest.raises(ValueError, match="room"):
            nf.build_pending(info, smc64=smc64)
    else:
        assert nf.parse_pending(nf.build_pending(info, smc64=smc64), smc64=smc64) == info


@FUZZ
@given(
    registers=st.lists(st.integers(0, (1 << 64) - 1), min_size=6, max_size=6), smc64=st.booleans()
)
def test_hostile_registers(registers, smc64):
    with suppress(DecodeError):
        info = nf.parse_pending(registers, smc64=smc64)
        assert sum(1 + len(pending.vcpus) for pending in info.lists) <= 20


def test_more_ids_than_registers():
    with pytest.raises(DecodeError) as caught:
        nf.parse_pending([0x3F000 | 5 << 7, 0, 0, 0, 0, 0], smc64=False)
    assert caught.value.path == "lists[2]"


@pytest.mark.parametrize(
    "info",
    [
        PendingInfo((PendingList(1, (1, 2, 3, 4)),)),
        PendingInfo((PendingList(0x1_0000),)),
    ],
)
def test_building_wrongly(info):
    with pytest.raises(ValueError, match=r"vCPUs|16-bit"):
        nf.build_pending(info, smc64=True)


def test_flags():
    assert str(nf.SetFlags(0x0003_0003)) == (
        "0x30003 (VCPU=3, DELAY_SCHEDULE_RECEIVER=1, PER_VCPU=1)"
    )
    assert nf.GetFlags.defined() == 0xF
    assert nf.GetFlags(nf.GET_FROM_SPM).SPM
