import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffabric.machine.bus import Bus
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

GICD, GICR = 0x2F00_0000, 0x2F10_0000
SGI = 0x10000
FVP = [0x8100_0000 | aff for aff in (0x0, 0x100, 0x200, 0x300)]
SECURE_SPI, NS_SPI = 56, 59


class Views:
    """A GIC on a bus: ``d`` and ``r`` access GICD and GICR in a physical address space."""

    def __init__(self, gic):
        self.gic = gic
        self.bus = Bus()
        for secure in (False, True):
            region = RedistributorRegion(gic, secure=secure)
            self.bus.add(GICD, 0x10000, Distributor(gic, secure=secure), secure=secure)
            self.bus.add(GICR, region.size, region, secure=secure)

    def read(self, pa, size=4, *, secure=False):
        return self.bus.read(pa, size, secure=secure)

    def write(self, pa, value, size=4, *, secure=False):
        self.bus.write(pa, size, value, secure=secure)


@pytest.fixture
def views():
    gic = Gic(4, FVP)
    set_up(gic, secure=[SECURE_SPI, 29])
    return Views(gic)


def word(base, intid):
    return base + intid // 32 * 4


@pytest.mark.parametrize("secure", [False, True])
def test_identification(views, secure):
    for base in (GICD, GICR, GICR + SGI, GICR + 0x60000):
        assert views.read(base + 0xFFE8, secure=secure) >> 4 & 0xF == 3  # PIDR2.ArchRev
        component = [views.read(base + 0xFFF0 + 4 * n, secure=secure) for n in range(4)]
        assert component == [0x0D, 0xF0, 0x05, 0xB1]
    assert views.read(GICD + 0x8, secure=secure) == views.read(GICR + 0x4, secure=secure) == 0x43B


@pytest.mark.parametrize(("spis", "lines"), [(32, 1), (256, 8), (960, 30), (988, 31)])
def test_typer_tells_the_number_of_interrupts(spis, lines):
    typer = Distributor(Gic(1, spis=spis), secure=False).read(0x4, 4)
    assert typer & 0x1F == lines
    assert typer >> 10 & 1  # two Security states
    assert typer >> 19 & 0x1F == 15  # 16 bits of INTID
    assert typer >> 8 & 1  # extended SPIs
    assert typer >> 27 & 0x1F == 31  # 1024 of them
    assert not typer >> 17 & 1  # no LPIs


def test_typer_of_a_gic_without_extended_ranges():
    gic = Gic(1, spis=32, extended=False)
    typer = Distributor(gic, secure=False).read(0x4, 4)
    assert typer >> 19 & 0x1F == 9  # 10 bits of INTID
    assert not typer >> 8 & 1
    assert not gic.implemented(4096)
    assert not gic.implemented(1056)


EXTENDED_SPI, LAST_EXTENDED_SPI, EXTENDED_PPI = 4096 + 37, 5119, 1056 + 35


@pytest.mark.parametrize("intid", [EXTENDED_SPI, LAST_EXTENDED_SPI])
def test_an_extended_spi_has_registers_of_its_own(views, intid):
    n = intid - 4096
    bit, gic = 1 << n % 32, views.gic
    gic.sysreg_write(2, "ICC_IGRPEN1_EL1", 1, secure=False)
    views.write(GICD + 0x1200 + n // 32 * 4, bit)  # ISENABLER<n>E
    assert gic.enabled(intid)
    views.write(GICD + 0x2000 + n, 0x40, 1)  # IPRIORITYR<n>E
    assert views.read(GICD + 0x2000 + n, 1) == 0x40
    views.write(GICD + 0x3000 + n // 16 * 4, 2 << 2 * (n % 16))  # ICFGR<n>E
    assert gic.is_edge(intid)
    views.write(GICD + 0x8000 + 8 * n, FVP[2] & 0xFFFF, 8)  # IROUTER<n>E
    views.write(GICD + 0x1600 + n // 32 * 4, bit)  # ISPENDR<n>E
    assert gic.state(intid) is State.PENDING
    assert gic.best(2)[GROUP1NS] == (0xA0, intid)
    assert gic.best(0)[GROUP1NS] is None
    views.write(GICD + 0x1800 + n // 32 * 4, bit)  # ICPENDR<n>E
    assert gic.state(intid) is State.INACTIVE
    views.write(GICD + 0x1A00 + n // 32 * 4, bit, secure=True)  # ISACTIVER<n>E
    assert gic.state(intid) is State.ACTIVE
    views.write(GICD + 0x1C00 + n // 32 * 4, bit, secure=True)  # ICACTIVER<n>E
    assert gic.state(intid) is State.INACTIVE
    views.write(GICD + 0x1400 + n // 32 * 4, bit)  # ICENABLER<n>E
    assert not gic.enabled(intid)
    views.write(GICD + 0x1000 + n // 32 * 4, 0, secure=True)  # IGROUPR<n>E
    views.write(GICD + 0x3400 + n // 32 * 4, bit, secure=True)  # IGRPMODR<n>E
    assert gic.group(intid) == GROUP1S
    assert views.read(GICD + 0x1200 + n // 32 * 4) == 0


def test_an_extended_ppi_is_each_pes_own(views):
    n = EXTENDED_PPI - 1056
    bit, frame, gic = 1 << n % 32, GICR + 0x20000 + SGI, views.gic
    gic.sysreg_write(1, "ICC_IGRPEN1_EL1", 1, secure=False)
    assert views.read(GICR + 0x8, 8) >> 27 & 0x1F == 2  # PPInum: up to 1119
    views.write(frame + 0x104 + n // 32 * 4, bit)  # ISENABLER<n>E
    assert gic.enabled(EXTENDED_PPI, 1)
    assert not gic.enabled(EXTENDED_PPI, 0)
    views.write(frame + 0x420 + n, 0x60, 1)  # IPRIORITYR<n>E
    views.write(frame + 0xC08 + n // 16 * 4, 2 << 2 * (n % 16))  # ICFGR<n>E
    assert gic.is_edge(EXTENDED_PPI, 1)
    views.write(frame + 0x204 + n // 32 * 4, bit)  # ISPENDR<n>E
    assert gic.best(1)[GROUP1NS] == (0xB0, EXTENDED_PPI)
    assert gic.best(0)[GROUP1NS] is None


def test_ctlr_shows_each_state_its_own(views):
    assert views.read(GICD, secure=True) == 0x37
    assert views.read(GICD) == 0x12  # EnableGrp1A, ARE_NS
    views.write(GICD, 0)
    assert views.read(GICD, secure=True) == 0x35
    views.write(GICD, 0xFFFF_FFFF)
    views.write(GICD, 0x70, secure=True)
    assert views.read(GICD, secure=True) == 0x30
    assert views.read(GICD) == 0x10


def test_typer_of_each_redistributor(views):
    for pe in range(4):
        typer = views.read(GICR + pe * 0x20000 + 0x8, 8)
        assert typer >> 32 == FVP[pe] & 0xFFFF
        assert typer >> 8 & 0xFFFF == pe
        assert bool(typer & 0x10) == (pe == 3)  # Last
        high = views.read(GICR + pe * 0x20000 + 0xC)
        assert high << 32 | views.read(GICR + pe * 0x20000 + 0x8) == typer


def test_waker_is_secure(views):
    gic = views.gic
    views.write(GICR + 0x20014, 0x2, secure=True)
    assert views.read(GICR + 0x20014, secure=True) == 0x6
    assert gic.awake == [True, False, True, True]
    assert views.read(GICR + 0x20014) == 0
    views.write(GICR + 0x20014, 0)
    assert not gic.awake[1]
    views.write(GICR + 0x20014, 0, secure=True)
    assert views.read(GICR + 0x20014, secure=True) == 0
    assert gic.awake[1]


BITS = [(0x100, 0x180, "enabled"), (0x200, 0x280, "latch"), (0x300, 0x380, "active")]


@pytest.mark.parametrize(("set_", "clear", "attribute"), BITS)
def test_bitmaps_are_set_and_cleared_by_ones(views, set_, clear, attribute):
    at_set, at_clear = word(GICD + set_, 32), word(GICD + clear, 32)
    both = 1 << SECURE_SPI - 32 | 1 << NS_SPI - 32
    views.write(at_set, both)  # a Non-secure write reaches its own only
    assert getattr(views.gic.spis, attribute) == 1 << NS_SPI
    assert views.read(at_set) == views.read(at_clear) == 1 << NS_SPI - 32
    views.write(at_set, both, secure=True)
    assert views.read(at_set, secure=True) == both
    assert views.read(at_set) == 1 << NS_SPI - 32
    views.write(at_clear, both)
    assert views.read(at_clear, secure=True) == 1 << SECURE_SPI - 32
    views.write(at_clear, both, secure=True)
    assert getattr(views.gic.spis, attribute) == 0


def test_private_interrupts_are_each_pes(views):
    views.write(GICR + 0x20000 + SGI + 0x100, 1 << 27 | 1 << 29)
    assert [bank.enabled for bank in views.gic.private] == [0, 1 << 27, 0, 0]
    assert views.read(GICR + 0x20000 + SGI + 0x180) == 1 << 27
    assert views.read(GICR + SGI + 0x100) == 0
    views.write(GICD + 0x100, 0xFFFF_FFFF, secure=True)  # affinity routing: RES0
    assert views.read(GICD + 0x100, secure=True) == 0


def test_groups_belong_to_the_secure_state(views):
    at_group, at_modifier = word(GICD + 0x80, 64), word(GICD + 0xD00, 64)
    views.write(at_group, 0)
    assert views.gic.group(64) == GROUP1NS
    assert views.read(at_group) == 0
    views.write(at_group, 0xFFFF_FFFC, secure=True)
    views.write(at_modifier, 0x2, secure=True)
    assert [views.gic.group(intid) for intid in (64, 65, 66)] == [GROUP0, GROUP1S, GROUP1NS]
    assert views.read(at_group, secure=True) == 0xFFFF_FFFC
    assert views.read(at_modifier, secure=True) == 0x2
    assert views.read(at_modifier) == 0


def test_priorities_have_a_non_secure_view(views):
    at = GICD + 0x400 + NS_SPI
    assert views.read(at, 1) == 0xA0
    views.write(at, 0x80, 1)
    assert views.read(at, 1, secure=True) == 0xC0
    views.write(at, 0xFF, 1)
    assert (views.read(at, 1), views.read(at, 1, secure=True)) == (0xF0, 0xF8)
    views.write(at, 0x47, 1, secure=True)
    assert (views.read(at, 1), views.read(at, 1, secure=True)) == (0, 0x40)
    views.write(GICD + 0x400 + SECURE_SPI, 0x80, 1)
    assert views.gic.spis.priority[SECURE_SPI] == 0
    assert views.read(GICD + 0x400 + SECURE_SPI, 1) == 0


def test_priorities_are_written_by_the_word_too(views):
    at = GICD + 0x400 + SECURE_SPI
    views.write(at, 0x6040_2010)
    assert views.gic.spis.priority[56:60] == bytes([0, 0x90, 0xA0, 0xB0])
    assert views.read(at) == 0x6040_2000
    views.write(GICR + SGI + 0x400 + 28, 0xA0A0_A0A0)
    assert views.gic.private[0].priority[28:32] == bytes([0xD0, 0x00, 0xD0, 0xD0])


@given(st.integers(0, 255))
def test_a_non_secure_priority_reads_back_and_stays_in_its_half(value):
    gic = Gic(1)
    set_up(gic)
    frame = Distributor(gic, secure=False)
    frame.write(0x400 + 40, 1, value)
    assert frame.read(0x400 + 40, 1) == value & 0xF0
    assert gic.spis.priority[40] >= 0x80


def test_configuration_is_two_bits_each(views):
    views.write(GICD + 0xC00 + 12, 0xFFFF_FFFF)  # INTIDs 48 to 63
    assert views.read(GICD + 0xC00 + 12) == 0xAAAA_AAAA & ~(3 << 2 * (SECURE_SPI - 48))
    assert views.gic.spis.edge == 0xFFFF << 48 & ~(1 << SECURE_SPI)
    views.write(GICD + 0xC00 + 12, 0, secure=True)
    assert views.gic.spis.edge == 0
    assert views.read(GICR + SGI + 0xC00, secure=True) == 0xAAAA_AAAA  # SGIs
    views.write(GICR + SGI + 0xC00, 0, secure=True)
    assert views.read(GICR + SGI + 0xC00, secure=True) == 0xAAAA_AAAA
    views.write(GICR + SGI + 0xC04, 0x8, secure=True)
    assert views.read(GICR + SGI + 0xC04) == 0x8


def test_routes_take_halves_and_only_known_interrupts(views):
    at = GICD + 0x6000 + 8 * NS_SPI
    views.write(at, 0x8000_0200)
    views.write(at + 4, 0x1)
    assert views.read(at, 8) == 0x1_8000_0200
    views.write(at, 0x8100_0300, 8)
    assert views.gic.routes[NS_SPI] == 0x8000_0300
    views.write(GICD + 0x6000 + 8 * SECURE_SPI, 0x300, 8)
    assert views.gic.routes[SECURE_SPI] == 0
    for intid in (0, 31, 1020, 1023):
        views.write(GICD + 0x6000 + 8 * intid, 0x300, 8, secure=True)
        assert views.read(GICD + 0x6000 + 8 * intid, 8, secure=True) == 0


LENT = [  # NSACR level: may set pending, may clear pending, may see active, may route
    (0, False, False, False, False),
    (1, True, False, False, False),
    (2, True, True, True, False),
    (3, True, True, True, True),
]


@pytest.mark.parametrize("lent", LENT)
def test_nsacr_lends_secure_interrupts(views, lent):
    level, sets, clears, sees, routes = lent
    at_nsacr = GICD + 0xE00 + 12
    field = 2 * (SECURE_SPI - 48)
    views.write(at_nsacr, 3 << field)
    assert views.read(at_nsacr, secure=True) == 0
    views.write(at_nsacr, level << field, secure=True)
    assert views.read(at_nsacr, secure=True) == level << field
    assert views.read(at_nsacr) == 0
    spis = views.gic.spis
    bit = 1 << SECURE_SPI - 32

    views.write(word(GICD + 0x200, SECURE_SPI), bit)
    assert bool(spis.latch) == sets
    spis.latch = 1 << SECURE_SPI
    assert bool(views.read(word(GICD + 0x200, SECURE_SPI))) == sets
    views.write(word(GICD + 0x280, SECURE_SPI), bit)
    assert bool(spis.latch) != clears
    spis.active = 1 << SECURE_SPI
    assert bool(views.read(word(GICD + 0x300, SECURE_SPI))) == sees
    views.write(word(GICD + 0x380, SECURE_SPI), bit)
    assert spis.active
    views.write(GICD + 0x6000 + 8 * SECURE_SPI, 0x100, 8)
    assert views.gic.routes[SECURE_SPI] == (0x100 if routes else 0)


def test_a_register_makes_an_interrupt_pending_and_a_level_keeps_it_so(views):
    gic = views.gic
    gic.set_level(NS_SPI, True)
    views.write(word(GICD + 0x280, NS_SPI), 1 << NS_SPI - 32)
    assert gic.state(NS_SPI) is State.PENDING
    gic.set_level(NS_SPI, False)
    assert gic.state(NS_SPI) is State.INACTIVE
    views.write(word(GICD + 0x200, NS_SPI), 1 << NS_SPI - 32)
    assert gic.state(NS_SPI) is State.PENDING


@given(
    st.integers(0, 0xFFFF),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 2**64 - 1),
    st.booleans(),
)
def test_no_access_does_harm(offset, size, value, secure):
    gic = Gic(2, spis=64)
    set_up(gic, secure=[40])
    for frame, base in (
        (Distributor(gic, secure=secure), 0),
        (RedistributorRegion(gic, secure=secure), SGI),
    ):
        frame.write(base + offset, size, value & (1 << 8 * size) - 1)
        assert 0 <= frame.read(base + offset, size) < 1 << 8 * size
    for bank in (*gic.private, gic.spis):
        for bits in (
            bank.enabled,
            bank.latch,
            bank.active,
            bank.edge,
            bank.non_secure,
            bank.modifier,
        ):
            assert 0 <= bits <= bank.implemented
            assert bits & ~bank.implemented == 0
    if not secure:
        assert gic.group(40) == GROUP1S
        assert not gic.spis.enabled >> 40 & 1
    assert gic.pending(0) is None
