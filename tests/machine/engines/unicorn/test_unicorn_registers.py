"""The Unicorn engine: system registers, time, identification."""

import pytest
from unicorn_board import IPA, Board

from ffabric.machine.context import IRQ
from ffabric.machine.engines.unicorn import layout, native, sysregs

IL = 1 << 25


@pytest.fixture
def board():
    board = Board()
    yield board
    board.close()


class Handler:
    """Answers what it is told, and keeps what it was asked."""

    def __init__(self, board, **answers):
        self.answers = answers
        self.log = []
        board.engine.sysreg = self

    def __call__(self, ctx, name, write, value):
        self.log.append((ctx.name, name, write, value))
        return self.answers.get(name)


def test_the_gic_registers_are_the_handlers(board):
    handler = Handler(board, ICC_IAR1_EL1=0x2A, ICC_EOIR1_EL1=0)
    vcpu = board.vcpu(9)
    assert vcpu.step() == ("HVC", [0x2A] + [0] * 9 + [IPA + 0x3C00] + [0] * 7)
    assert handler.log == [
        ("vcpu0", "ICC_IAR1_EL1", False, 0),
        ("vcpu0", "ICC_EOIR1_EL1", True, 0x2A),
    ]


def test_what_the_handler_does_not_know_is_undefined(board):
    Handler(board, ICC_IAR1_EL1=0x2A, ICC_EOIR1_EL1=0)
    vcpu = board.vcpu(9)
    vcpu.step()
    name, x = vcpu.step()
    assert (name, x[:3]) == ("HVC", [0x200, IL, IPA + 0x900 + 4 * 7])


def test_the_registers_of_el2_are_undefined_at_el1(board):
    handler = Handler(board, ICC_IAR1_EL1=0, ICC_EOIR1_EL1=0, ICC_RPR_EL1=0, ICC_SRE_EL2=7)
    vcpu = board.vcpu(9)
    vcpu.step()
    name, x = vcpu.step()
    assert (name, x[:3]) == ("HVC", [0x200, IL, IPA + 0x900 + 4 * 8])
    assert handler.log[-1][1] == "ICC_RPR_EL1"


def test_without_a_handler_there_is_no_gic(board):
    name, x = board.vcpu(9).step()
    assert (name, x[:3]) == ("HVC", [0x200, IL, IPA + 0x900 + 4 * 4])


def test_a_handler_that_raises_an_interrupt_is_followed_by_it(board):
    vcpu = board.vcpu(23)

    def sysreg(ctx, name, write, value):
        vcpu.runner.interrupt(IRQ, True)
        return 0x77

    board.engine.sysreg = sysreg
    name, x = vcpu.step()
    assert (name, x[0], x[2]) == ("HVC", 0x280, IPA + 0x1700 + 4 * 6)
    assert vcpu.runner.registers()["x19"] == 0


def test_timers_are_the_handlers_and_undefined_without_it(board):
    handler = Handler(board, CNTV_CVAL_EL0=0, CNTV_CTL_EL0=5)
    vcpu = board.vcpu(15)
    name, x = vcpu.step()
    assert (name, x[1]) == ("HVC", 5)
    assert handler.log == [
        ("vcpu0", "CNTV_CVAL_EL0", True, 0x55),
        ("vcpu0", "CNTV_CTL_EL0", False, 0),
    ]
    name, x = vcpu.step()
    assert (name, x[:3]) == ("HVC", [0x200, IL, IPA + 0xF00 + 4 * 8])
    assert handler.log[-1][1] == "CNTP_TVAL_EL0"


def test_a_write_nobody_takes_is_undefined(board):
    name, x = board.vcpu(15).step()
    assert (name, x[:3]) == ("HVC", [0x200, IL, IPA + 0xF00 + 4 * 5])


def test_a_loop_on_the_counter_takes_virtual_time(board):
    vcpu = board.vcpu(7)
    name, x = vcpu.step()
    assert name == "HVC"
    assert x[2] == 62_500_000
    assert 625 <= x[1] < 625 + 63
    assert 10_000 <= board.clock.now < 12_500
    assert vcpu.runner.instructions < 100


def test_reading_the_counter_can_be_made_cheap(board):
    board.engine.counter_step = 0
    vcpu = board.vcpu(7)
    name, x = vcpu.step()
    assert (name, x[1]) == ("HVC", 625)
    assert 10_000 <= board.clock.now < 10_100
    assert vcpu.runner.instructions == board.clock.now


def test_a_deadline_within_a_counter_read_ends_the_run(board):
    vcpu = board.vcpu(7)
    board.clock.at(4_500, lambda: None)
    assert vcpu.step()[0] == "SLICE"
    assert 4_500 <= board.clock.now < 5_600
    assert vcpu.step()[0] == "HVC"


def test_el0_reads_what_its_el1_allows(board):
    Handler(board, CNTV_CTL_EL0=5)
    board.clock.advance(16_000_000)
    vcpu = board.vcpu(24, x0=1 << 8 | 1 << 1)
    code = IPA + 0x1800 + 4 * 9
    name, x = vcpu.step()  # the PMU's counter is not allowed
    assert (name, x[0], x[2]) == ("HVC", 0x400, code + 4 * 3)
    registers = vcpu.runner.registers()
    assert 1_000_000 < registers["x20"] < 1_000_100
    assert registers["x21"] == 5


@pytest.mark.parametrize(("allowed", "refused"), [(0, 0), (1 << 1, 1)])
def test_el0_is_trapped_to_its_el1_elsewhere(board, allowed, refused):
    handler = Handler(board, CNTV_CTL_EL0=5)
    name, x = board.vcpu(24, x0=allowed).step()
    assert (name, x[0], x[1] >> 26) == ("HVC", 0x400, 0x18)
    assert x[2] == IPA + 0x1800 + 4 * (9 + refused)
    assert handler.log == []


def test_cycles_are_virtual_nanoseconds(board):
    board.clock.advance(7_000)
    assert board.vcpu(25).step() == ("HVC", [7_002] + [0] * 17)


def test_el2_can_offset_its_virtual_counter(board):
    board.engine.counter_step = 160
    board.clock.advance(32_000)
    _, x = board.vcpu(26, level=2).step()
    assert x[:2] == [2_010, 1_920]


def test_an_undefined_register_at_the_end_of_mapped_memory(board):
    end = IPA + 0x10_1000
    board.memory.write(0x9010_0FFC, (0xD53BE200).to_bytes(4, "little"), secure=False)
    board.stage2.unmap(end, 1)
    name, x = board.vcpu(22, x0=end - 4).step()  # MRS X0, CNTP_TVAL_EL0
    assert (name, x[:3]) == ("HVC", [0x200, IL, end - 4])


def test_sve_is_undefined(board):
    board.memory.write(0x9010_0000, (0x04A0_0000).to_bytes(4, "little"), secure=False)
    name, x = board.vcpu(22, x0=IPA + 0x10_0000).step()  # SVE
    assert (name, x[:3]) == ("HVC", [0x200, IL, IPA + 0x10_0000])


def test_identification_hides_what_is_not_there(board):
    def identify(**options):
        name, x = board.vcpu(13, **options).step()
        assert name == "HVC"
        return x

    x = identify(mpidr=0x8100_0300)
    assert x[0] == 0x8100_0300
    assert x[1] & 0xF00FFFF == 0x1001111  # GIC; AArch64 only
    assert x[1] >> 32 & 0xF == 0  # no SVE
    assert x[2] >> 60 == 0  # no RNDR
    assert x[3] >> 8 & 0xF == 0  # no PMU
    assert x[6] == 1 << 2
    again = identify(mpidr=0x8100_0300, gic=False)
    assert again[1] >> 24 & 0xF == 0
    assert again[4:6] == x[4:6]
    assert x[4] != x[5]
    assert identify(mpidr=0x8100_0100)[4] != x[4]
    assert identify(mpidr=0x8100_0300, level=2)[0] == 0x8100_0300


def test_names_and_numbers():
    assert sysregs.decode(0xD538CC03) == (
        sysregs.key(3, 0, 12, 12, 0),
        False,
        3,
    )  # mrs x3, icc_iar1_el1
    assert sysregs.decode(0xD518CC24)[1:] == (True, 4)  # type: ignore[index]  # msr icc_eoir1_el1, x4
    assert sysregs.decode(0xD50342FF) is None  # msr daifclr, #2
    assert sysregs.decode(0xD50B7521) is None  # ic ivau, x1
    assert sysregs.name_of(sysregs.key(3, 3, 14, 3, 1)) == "CNTV_CTL_EL0"
    assert sysregs.name_of(sysregs.key(3, 4, 12, 13, 7)) == "ICH_LR15_EL2"
    assert sysregs.name_of(sysregs.key(3, 0, 15, 1, 2)) == "S3_0_C15_C1_2"
    assert len(set(sysregs.NAMES.values())) == len(sysregs.NAMES)


def test_the_layout_is_found_and_a_strange_unicorn_refused(monkeypatch):
    found = layout.find()
    assert layout.find() is found
    assert found.counter > 0
    assert found.exception > 0
    monkeypatch.setattr(layout, "_run", lambda nops, limit: ({nops}, {0}))
    layout.find.cache_clear()
    with pytest.raises(native.UnicornError, match="not as expected"):
        layout.find()
    monkeypatch.undo()
    assert layout.find() == found


def test_a_refusal_of_unicorn_is_an_error(board):
    board.memory.add("odd", 0x1_0000_0000, 0x1000, secure=False)
    board.bus.add(0x1_0000_0000, 0x1000, object(), secure=None)  # memory is there already
    with pytest.raises(native.UnicornError, match="device at 0x100000000"):
        board.vcpu(0)
