"""The Unicorn engine: exceptions and interrupts that the partition takes itself."""

import pytest
from unicorn_board import IPA, NORMAL_RAM, Board

from ffabric.machine import exits
from ffabric.machine.context import FIQ, IRQ

VECTORS = 0x2000
STACK = 0x3C00
USER_STACK = 0x3800
EC = 26
IL = 1 << 25
EL1H = 0x5
EL2H = 0x9
DAIF = 0x3C0
NZCV = 0xF << 28


@pytest.fixture
def board():
    board = Board()
    yield board
    board.close()


def report(step):
    """vector, ESR, ELR, FAR, SPSR, SP as the image's vectors report them."""
    name, x = step
    assert name == "HVC"
    return x[:6]


def skip(vcpu):
    """Go on behind the instruction that the vectors have just reported."""
    vcpu.ctx.x[2] += 4
    return vcpu.step()


def test_undefined_brk_and_svc_come_to_the_vectors(board):
    vcpu = board.vcpu(5)
    pc = IPA + 0x500 + 4 * 4
    vector, esr, elr, _, spsr, sp = report(vcpu.step())
    assert (vector, esr, elr) == (0x200, IL, pc)
    assert (spsr & ~NZCV, sp) == (DAIF | EL1H, IPA + STACK)
    vector, esr, elr, *_ = report(skip(vcpu))
    assert (vector, esr, elr) == (0x200, 0x3C << EC | IL | 5, pc + 4)
    vector, esr, elr, *_ = report(skip(vcpu))
    assert (vector, esr, elr) == (0x200, 0x15 << EC | IL | 6, pc + 12)
    assert vcpu.step()[0] == "SMC"


@pytest.mark.parametrize(("model", "pan"), [("max", 1), ("cortex-a72", 0)])
def test_an_exception_on_sp_el0_and_the_setting_of_pan(model, pan):
    board = Board(model=model)
    vcpu = board.vcpu(27)
    vector, esr, _, _, spsr, sp = report(vcpu.step())
    assert (vector, esr) == (0x000, 0x15 << EC | IL | 3)
    assert (spsr & ~NZCV, sp) == (DAIF | 0x4, IPA + STACK)
    registers = vcpu.runner.registers()
    assert registers["pstate"] & ~NZCV == pan << 22 | DAIF | EL1H
    assert registers["sp"] == IPA + STACK
    board.close()


def test_el0_under_an_el1_reaches_it_by_the_lower_vectors(board):
    vcpu = board.vcpu(8)
    user = IPA + 0x800 + 4 * 10
    vector, esr, elr, _, spsr, sp = report(vcpu.step())
    assert (vector, esr, elr) == (0x400, 0x15 << EC | IL | 7, user + 8)
    assert (spsr & ~NZCV, sp) == (0, IPA + STACK)
    vector, esr, elr, _, spsr, sp = report(vcpu.step())
    assert (vector, esr, elr) == (0x400, IL, user + 8)  # SMC is undefined at EL0
    assert (spsr & ~NZCV, sp) == (0, IPA + STACK)
    assert vcpu.runner.registers()["x20"] == IPA + USER_STACK


@pytest.mark.parametrize(("kind", "vector"), [(IRQ, 0x280), (FIQ, 0x300)])
def test_an_interrupt_is_taken_when_it_is_unmasked(board, kind, vector):
    vcpu = board.vcpu(6)
    assert vcpu.step()[0] == "SLICE"
    vcpu.runner.interrupt(kind, True)
    reported = report(vcpu.step())
    assert reported[0] == vector
    assert reported[2] in {IPA + 0x600 + 4 * 5, IPA + 0x600 + 4 * 6}
    assert reported[4] & ~NZCV == 0x300 | EL1H  # D and A were masked, I and F were not
    count = vcpu.runner.registers()["x19"]
    vcpu.runner.interrupt(kind, False)
    assert vcpu.step()[0] == "SLICE"
    assert vcpu.runner.registers()["x19"] > count


def test_fiq_goes_before_irq_and_a_line_stays_until_it_is_lowered(board):
    vcpu = board.vcpu(6)
    vcpu.step()
    vcpu.runner.interrupt(IRQ, True)
    vcpu.runner.interrupt(FIQ, True)
    vectors = []

    def answer(ctx, exit_):
        vectors.append(ctx.x[0])
        if len(vectors) == 2:
            vcpu.runner.interrupt(FIQ, False)
        return len(vectors) < 4

    vcpu.until(answer)
    assert vectors == [0x300, 0x300, 0x280, 0x280]


def test_a_masked_interrupt_waits_for_the_unmasking(board):
    vcpu = board.vcpu(20, x0=5_000)
    vcpu.runner.interrupt(IRQ, True)
    assert report(vcpu.step())[0] == 0x280
    registers = vcpu.runner.registers()
    assert registers["x19"] == 5_000
    assert registers["x20"] == 0


def test_an_interrupt_from_the_clock_is_exact(board):
    vcpu = board.vcpu(6)
    board.clock.at(5_000, lambda: vcpu.runner.interrupt(IRQ, True))
    steps = vcpu.until(lambda ctx, exit_: exit_ == exits.SLICE)
    assert [name for name, _ in steps] == ["SLICE", "HVC"]
    assert vcpu.runner.registers()["x19"] == (5_000 - 5) // 2 + 1


def test_an_interrupt_raised_in_a_call_follows_the_call(board):
    vcpu = board.vcpu(6)
    vcpu.step()
    vcpu.runner.interrupt(IRQ, True)
    times = []

    def answer(ctx, exit_):
        times.append(ctx.x[2])
        vcpu.runner.interrupt(IRQ, len(times) < 3)
        return exit_ == exits.HVC

    vcpu.until(answer)
    assert len(set(times[:3])) == 1  # three times before the interrupted instruction


def test_el0_is_interrupted_by_the_lower_vectors(board):
    vcpu = board.vcpu(21)
    vcpu.step()
    vcpu.runner.interrupt(IRQ, True)
    vector, _, _, _, spsr, _ = report(vcpu.step())
    assert (vector, spsr & ~NZCV) == (0x480, 0)


def test_interrupts_at_every_place_change_nothing_but_time(board):
    def count(interrupted):
        board = Board(slice_=37)
        vcpu = board.vcpu(6)
        taken = 0
        while vcpu.runner.registers()["x19"] < 2_000:
            name, _ = vcpu.step()
            if name == "HVC":
                taken += 1
                vcpu.runner.interrupt(IRQ, False)
            elif interrupted:
                vcpu.runner.interrupt(IRQ, True)
        board.close()
        return taken

    assert count(False) == 0
    assert count(True) > 100


def test_an_injected_abort_is_taken_at_the_access(board):
    vcpu = board.vcpu(4, x0=IPA + 0x10_0000)
    vcpu.step()
    board.stage2.unmap(IPA + 0x10_0000, 1)
    assert vcpu.step()[0] == "ABORT"
    fault = vcpu.ctx.fault
    vcpu.runner.inject_abort(fault.syndrome | 1 << 24 | 0x7F << 14, fault.va)
    vector, esr, elr, far, _, _ = report(vcpu.step())
    assert vector == 0x200
    assert esr == 0x25 << EC | IL | 0x07  # same level; nothing that only stage 2 tells
    assert elr == IPA + 0x400 + 4 * 4
    assert far == IPA + 0x10_0000


def test_an_abort_injected_in_the_trap_does_not_stop_the_run(board):
    vcpu = board.vcpu(4, x0=IPA + 0x10_0000)
    board.stage2.unmap(IPA + 0x10_0000, 1)

    def answer(ctx, exit_):
        if exit_ == exits.ABORT:
            vcpu.runner.inject_abort(0x24 << EC | IL | 0x10, 0xDEAD)
        return exit_ == exits.ABORT

    steps = vcpu.until(answer)
    assert [name for name, _ in steps] == ["ABORT", "HVC"]
    assert report(steps[1])[:4] == [0x200, 0x25 << EC | IL | 0x10, IPA + 0x400 + 4 * 4, 0xDEAD]


def test_vectors_that_are_not_there_are_a_crash(board):
    vcpu = board.vcpu(19, stage2=None)
    assert [name for name, _ in vcpu.until(lambda ctx, exit_: True)] == ["CRASH"]
    assert "without end" in vcpu.ctx.crash
    assert vcpu.step()[0] == "CRASH"
    vcpu.runner.start(NORMAL_RAM, 1)
    assert vcpu.step()[0] == "SMC"


def test_vectors_outside_stage_2_are_aborts(board):
    vcpu = board.vcpu(19)
    assert vcpu.step()[0] == "ABORT"
    assert (vcpu.ctx.fault.kind, vcpu.ctx.fault.ipa) == ("fetch", 0x7FFF0A00)


@pytest.mark.parametrize(
    ("address", "esr"),
    [(0x1_0000, 0x25 << EC | IL | 0x410), (0x7000_0000, 0x25 << EC | IL | 0x410)],
)
def test_nothing_at_a_physical_address_is_an_external_abort(board, address, esr):
    vcpu = board.vcpu(4, x0=address, stage2=None)
    vector, got, elr, *_ = report(vcpu.step())
    assert (vector, got, elr) == (0x200, esr, NORMAL_RAM + 0x400 + 4 * 4)


def test_nothing_to_execute_at_a_physical_address_is_an_external_abort(board):
    vcpu = board.vcpu(22, x0=0x7000_0000, stage2=None)
    vector, esr, elr, *_ = report(vcpu.step())
    assert (vector, esr, elr) == (0x200, 0x21 << EC | IL | 0x410, 0x7000_0000)


def test_the_secure_memory_is_nothing_to_a_normal_world_without_stage_2(board):
    vcpu = board.vcpu(4, x0=0x8000_0000, stage2=None)
    assert report(vcpu.step())[1] == 0x25 << EC | IL | 0x410
    secure = board.vcpu(4, x0=0x8000_0000, stage2=None, secure=True)
    assert secure.step()[1][1] == 0


def test_el2_takes_its_own_exceptions_and_interrupts(board):
    def sysreg(ctx, name, write, value):
        return 0x7 if name == "ICC_SRE_EL2" and not write else None

    board.engine.sysreg = sysreg
    vcpu = board.vcpu(14, level=2, mpidr=0x8100_0100)
    name, x = vcpu.step()
    assert name == "HVC"
    assert x[:4] == [0x8100_0100, 2 << 2, NORMAL_RAM + VECTORS + 0x800, 7]
    vector, esr, elr, _, spsr, sp = report(vcpu.step())
    assert (vector, esr, elr) == (0x200, 0x15 << EC | IL | 9, NORMAL_RAM + 0xE00 + 4 * 10)
    assert (spsr & ~NZCV, sp) == (DAIF | EL2H, NORMAL_RAM + STACK)
    assert vcpu.step()[0] == "SLICE"
    vcpu.runner.interrupt(IRQ, True)
    vector, _, _, _, spsr, _ = report(vcpu.step())
    assert (vector, spsr & ~NZCV) == (0x280, 0x300 | EL2H)
    vcpu.runner.interrupt(IRQ, False)
    vcpu.runner.interrupt(FIQ, True)
    assert report(vcpu.step())[0] == 0x300
