import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.machine.gic import (
    GROUP0,
    GROUP1NS,
    GROUP1S,
    Distributor,
    Gic,
    RedistributorRegion,
    State,
    set_up,
)

SECURE_SPI, NS_SPI = 56, 59
ANY = 1 << 31


@pytest.fixture
def gic():
    return ready()


def ready(pes=2):
    gic = Gic(pes)
    set_up(gic, secure=[SECURE_SPI, *range(9, 16), 29])
    for pe in range(pes):
        gic.sysreg_write(pe, "ICC_IGRPEN1_EL1", 1, secure=False)
        gic.sysreg_write(pe, "ICC_PMR_EL1", 0xFF, secure=False)
        for intid in range(32):
            gic.configure(intid, pe, enabled=True)
    for intid in (SECURE_SPI, NS_SPI):
        gic.configure(intid, enabled=True)
    return gic


def test_nothing_is_signalled_after_reset():
    gic = Gic(1)
    gic.set_level(NS_SPI, True)
    assert gic.state(NS_SPI) is State.PENDING
    assert gic.pending(0) is None


@pytest.mark.parametrize(("intid", "group"), [(SECURE_SPI, GROUP1S), (NS_SPI, GROUP1NS)])
def test_a_level_is_signalled_while_it_lasts(gic, intid, group):
    gic.set_level(intid, True)
    assert gic.pending(0) == (intid, group)
    assert gic.pending(1) is None
    gic.set_level(intid, False)
    assert gic.pending(0) is None


def test_an_edge_is_signalled_until_it_is_acknowledged(gic):
    gic.configure(NS_SPI, edge=True)
    gic.set_level(NS_SPI, True)
    gic.set_level(NS_SPI, False)
    assert gic.pending(0) == (NS_SPI, GROUP1NS)
    gic.acknowledge(0, NS_SPI)
    assert gic.state(NS_SPI) is State.ACTIVE
    assert gic.pending(0) is None
    gic.set_pending(NS_SPI)
    assert gic.state(NS_SPI) is State.ACTIVE_PENDING
    assert gic.pending(0) is None
    gic.deactivate(0, NS_SPI)
    assert gic.pending(0) == (NS_SPI, GROUP1NS)


def test_an_acknowledge_of_the_firmware_leaves_the_running_priority(gic):
    gic.set_level(SECURE_SPI, True)
    gic.set_level(NS_SPI, True)
    assert gic.pending(0) == (SECURE_SPI, GROUP1S)
    gic.acknowledge(0, SECURE_SPI)
    assert gic.pending(0) == (NS_SPI, GROUP1NS)
    gic.deactivate(0, SECURE_SPI)
    assert gic.pending(0) == (SECURE_SPI, GROUP1S)


def test_pending_in_a_group_looks_past_the_others(gic):
    gic.set_level(SECURE_SPI, True)
    gic.set_level(NS_SPI, True)
    assert [gic.pending_in(0, group) for group in (GROUP0, GROUP1S, GROUP1NS)] == [
        None,
        SECURE_SPI,
        NS_SPI,
    ]
    gic.sysreg_write(0, "ICC_PMR_EL1", 0x80, secure=True)
    assert gic.pending_in(0, GROUP1NS) is None
    assert gic.best(0) == [None, (0x00, SECURE_SPI), (0xD0, NS_SPI)]


@pytest.mark.parametrize("change", ["interrupt", "distributor", "cpu", "asleep"])
def test_every_switch_can_keep_an_interrupt_back(gic, change):
    gic.set_level(NS_SPI, True)
    assert gic.pending(0)
    switch = {
        "interrupt": lambda: gic.configure(NS_SPI, enabled=False),
        "distributor": lambda: Distributor(gic, secure=False).write(0, 4, 0),
        "cpu": lambda: gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 0, secure=False),
        "asleep": lambda: RedistributorRegion(gic, secure=True).write(0x14, 4, 2),
    }
    switch[change]()
    assert gic.pending(0) is None
    assert gic.state(NS_SPI) is State.PENDING


def test_the_most_urgent_wins_then_the_lowest_intid(gic):
    for intid, priority in ((40, 0xC0), (41, 0x90), (42, 0x90), (43, 0xA0)):
        gic.configure(intid, enabled=True, priority=priority)
        gic.set_level(intid, True)
    gic.set_pending(27, 0)
    order = []
    while (found := gic.pending(0)) is not None:
        order.append(found[0])
        gic.acknowledge(0, found[0])
    assert order == [41, 42, 43, 40, 27]


def test_private_interrupts_name_their_pe(gic):
    gic.set_level(27, True, pe=1)
    assert (gic.pending(0), gic.pending(1)) == (None, (27, GROUP1NS))
    assert gic.state(27, 0) is State.INACTIVE
    assert gic.group(29, 1) == GROUP1S
    assert gic.enabled(27, 1)
    for refused in (
        lambda: gic.set_level(27, True),
        lambda: gic.set_pending(3),
        lambda: gic.state(1020),
        lambda: gic.configure(-1, 0, enabled=True),
        lambda: gic.route(20, 0),
    ):
        with pytest.raises(ValueError, match="INTID"):
            refused()


def test_spis_go_where_they_are_routed(gic):
    gic.set_level(NS_SPI, True)
    gic.configure(NS_SPI, target=1)
    assert (gic.pending(0), gic.pending(1)) == (None, (NS_SPI, GROUP1NS))
    gic.route(NS_SPI, 0x5500)
    assert (gic.pending(0), gic.pending(1)) == (None, None)


def test_affinities_have_four_levels():
    gic = Gic(2, [0x8100_0000, 0x7_8001_0203])
    assert gic.affinities == [0x0, 0x0701_0203]
    gic.configure(40, target=1)
    assert gic.routes[40] == 0x7_0001_0203


def test_one_of_n_goes_to_the_first_that_takes_part(gic):
    gic.set_level(NS_SPI, True)
    gic.route(NS_SPI, ANY)
    assert (gic.pending(0), gic.pending(1)) == ((NS_SPI, GROUP1NS), None)
    gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 0, secure=False)
    assert (gic.pending(0), gic.pending(1)) == (None, (NS_SPI, GROUP1NS))


def test_on_change_is_called_when_an_answer_may_differ(gic):
    calls = []
    gic.on_change = lambda: calls.append(None)
    gic.set_level(NS_SPI, True)
    gic.set_level(NS_SPI, True)  # no change
    assert len(calls) == 1
    gic.pending(0)
    gic.pending_in(0, GROUP1NS)
    assert len(calls) == 1
    gic.sysreg_read(0, "ICC_IAR1_EL1", secure=False)
    assert len(calls) == 2
    gic.sysreg_write(0, "ICC_EOIR1_EL1", NS_SPI, secure=False)
    assert len(calls) == 3


def test_pending_looks_only_when_something_changed(gic, monkeypatch):
    looked = []
    arbitrate = Gic._arbitrate

    def counted(self, pe):
        looked.append(pe)
        arbitrate(self, pe)

    monkeypatch.setattr(Gic, "_arbitrate", counted)
    for _ in range(5):
        gic.pending(0)
        gic.pending(1)
    assert looked == [0, 1]
    gic.set_level(27, True, pe=1)
    for _ in range(5):
        gic.pending(0)
        gic.pending(1)
    assert looked == [0, 1, 1]


def sgi(intid, targets=0, *, others=False, affinity=(0, 0, 0), range_=0):
    """A value of ICC_SGI1R_EL1; ``affinity`` is Aff3, Aff2, Aff1."""
    aff3, aff2, aff1 = affinity
    upper = aff3 << 48 | range_ << 44 | others << 40 | aff2 << 32
    return upper | intid << 24 | aff1 << 16 | targets


def test_sgi_targets():
    gic = ready(4)
    gic.sysreg_write(1, "ICC_SGI1R_EL1", sgi(3, 0b1010), secure=False)
    assert [gic.pending(pe) for pe in range(4)] == [None, (3, GROUP1NS), None, (3, GROUP1NS)]
    gic.sysreg_write(2, "ICC_SGI1R_EL1", sgi(2, others=True), secure=False)
    assert [gic.state(2, pe) for pe in range(4)] == [
        State.PENDING,
        State.PENDING,
        State.INACTIVE,
        State.PENDING,
    ]


def test_sgi_targets_by_affinity():
    gic = Gic(4, [0x0, 0x100, 0x1_0002_0311, 0x1_0002_0301])
    set_up(gic)
    for value, expected in (
        (sgi(1, 1, affinity=(0, 0, 1)), [1]),
        (sgi(2, 2, affinity=(1, 2, 3)), [3]),
        (sgi(3, 2, affinity=(1, 2, 3), range_=1), [2]),
        (sgi(4, 0xFFFF, affinity=(0, 0, 9)), []),
    ):
        gic.sysreg_write(0, "ICC_SGI1R_EL1", value, secure=False)
        intid = value >> 24 & 0xF
        assert [pe for pe in range(4) if gic.state(intid, pe) is State.PENDING] == expected


# Sender, register, group of the SGI at the target, its NSACR -> received
SGI_RULES = [
    (True, "ICC_SGI0R_EL1", GROUP0, 0, True),
    (True, "ICC_SGI0R_EL1", GROUP1S, 0, False),
    (True, "ICC_SGI0R_EL1", GROUP1NS, 0, False),
    (True, "ICC_SGI1R_EL1", GROUP0, 0, True),
    (True, "ICC_SGI1R_EL1", GROUP1S, 0, True),
    (True, "ICC_SGI1R_EL1", GROUP1NS, 0, False),
    (True, "ICC_ASGI1R_EL1", GROUP0, 0, False),
    (True, "ICC_ASGI1R_EL1", GROUP1S, 0, False),
    (True, "ICC_ASGI1R_EL1", GROUP1NS, 0, True),
    (False, "ICC_SGI1R_EL1", GROUP1NS, 0, True),
    (False, "ICC_SGI1R_EL1", GROUP1S, 3, False),
    (False, "ICC_SGI0R_EL1", GROUP0, 0, False),
    (False, "ICC_SGI0R_EL1", GROUP0, 1, True),
    (False, "ICC_ASGI1R_EL1", GROUP0, 0, False),
    (False, "ICC_ASGI1R_EL1", GROUP0, 1, True),
    (False, "ICC_ASGI1R_EL1", GROUP1S, 1, False),
    (False, "ICC_ASGI1R_EL1", GROUP1S, 2, True),
    (False, "ICC_ASGI1R_EL1", GROUP1NS, 3, False),
]


@pytest.mark.parametrize("rule", SGI_RULES)
def test_who_may_send_which_sgi(gic, rule):
    secure, register, group, access, received = rule
    gic.configure(5, 1, group=group)
    RedistributorRegion(gic, secure=True).write(0x20000 + 0x10E00, 4, access << 10)
    gic.sysreg_write(0, register, sgi(5, 0b10), secure=secure)
    assert (gic.state(5, 1) is State.PENDING) == received


@pytest.mark.parametrize(
    ("pes", "mpidrs", "spis"),
    [(0, None, 32), (2, [0], 32), (2, [0x8100_0000, 0x8000_0000], 32), (1, None, 33), (1, None, 0)],
)
def test_an_impossible_gic_is_refused(pes, mpidrs, spis):
    with pytest.raises(ValueError, match=r"PEs|SPIs"):
        Gic(pes, mpidrs, spis=spis)


def test_set_up_wants_interrupts_that_exist():
    with pytest.raises(ValueError, match="INTID 1020"):
        set_up(Gic(1), secure=[1020])


def test_a_copy_is_another_gic(gic):
    gic.set_level(NS_SPI, True)
    snapshot = copy.deepcopy(gic)
    assert gic.sysreg_read(0, "ICC_IAR1_EL1", secure=False) == NS_SPI
    assert gic.pending(0) is None
    assert snapshot.pending(0) == (NS_SPI, GROUP1NS)
    assert snapshot.sysreg_read(0, "ICC_IAR1_EL1", secure=False) == NS_SPI


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["raise", "lower", "set", "take", "deactivate", "enable", "disable", "mask"]
        ),
        st.sampled_from([3, 9, 27, 29, SECURE_SPI, NS_SPI, 60]),
        st.integers(0, 1),
        st.integers(0, 255),
    ),
    max_size=40,
)


@given(ACTIONS)
def test_the_cache_answers_as_a_fresh_look_would(actions):
    gic = ready()
    for action, intid, pe, value in actions:
        private = pe if intid < 32 else None
        match action:
            case "raise" | "lower":
                gic.set_level(intid, action == "raise", private)
            case "set":
                gic.set_pending(intid, private)
            case "take":
                if (found := gic.pending(pe)) is not None:
                    gic.acknowledge(pe, found[0])
            case "deactivate":
                gic.deactivate(pe, intid)
            case "enable" | "disable":
                gic.configure(intid, private, enabled=action == "enable", priority=value)
            case "mask":
                gic.sysreg_write(pe, "ICC_PMR_EL1", value, secure=bool(value & 1))
        cached = [gic.pending(each) for each in (0, 1)]
        gic.changed()
        assert [gic.pending(each) for each in (0, 1)] == cached
        for each, found in enumerate(cached):
            if found is not None:
                assert gic.state(found[0], each) is State.PENDING
                assert gic.enabled(found[0], each)
                assert gic.group(found[0], each) == found[1]
