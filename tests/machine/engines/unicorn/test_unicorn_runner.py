"""The Unicorn engine: calls, slices, waiting, starting."""

import pytest
from unicorn_board import IPA, NORMAL_RAM, Board

from ffabric.machine import exits
from ffabric.machine.context import FIQ, IRQ


@pytest.fixture
def board():
    board = Board()
    yield board
    board.close()


@pytest.mark.parametrize(("case", "name"), [(0, "SMC"), (1, "HVC")])
def test_a_call_passes_all_registers_and_loads_the_answer(board, case, name):
    vcpu = board.vcpu(case, x0=0x1234)
    answers = [[n << 56 | n for n in range(18)], [0xFFFF_FFFF_FFFF_FFFF - n for n in range(18)]]
    pending = list(answers)

    def answer(ctx, exit_):
        if pending:
            ctx.x[:] = pending.pop(0)
            return True
        return False

    steps = vcpu.until(answer)
    assert [exit_ for exit_, _ in steps] == [name] * 3
    assert steps[0][1] == [0x1234] + [0] * 17
    assert [x for _, x in steps[1:]] == answers


def test_an_answer_given_after_the_run_is_loaded_by_the_next(board):
    vcpu = board.vcpu(0)
    x = vcpu.ctx.x
    assert vcpu.step()[0] == "SMC"
    x[:] = range(100, 118)
    assert vcpu.step() == ("SMC", list(range(100, 118)))
    assert vcpu.ctx.x is x


def test_a_view_is_not_loaded(board):
    vcpu = board.vcpu(3)
    assert vcpu.step()[0] == "SLICE"
    vcpu.ctx.x[:] = [7] * 18
    assert vcpu.step() == ("SLICE", [0] * 18)


def test_a_slice_has_the_instructions_it_should(board):
    vcpu = board.vcpu(3)
    vcpu.step()
    assert vcpu.runner.instructions == 100_000
    assert board.clock.now == 100_000
    vcpu.step()
    assert vcpu.runner.instructions == 200_000
    assert vcpu.runner.registers()["x19"] == 100_000


def test_the_length_of_a_slice_can_be_chosen(board):
    board.engine.slice = 999
    vcpu = board.vcpu(3)
    left = [True, True, False]
    assert len(vcpu.until(lambda ctx, exit_: left.pop(0))) == 3
    assert vcpu.runner.instructions == 3 * 999


def test_a_call_costs_what_was_executed_until_it(board):
    vcpu = board.vcpu(0)
    times = []

    def answer(ctx, exit_):
        times.append(board.clock.now)
        return len(times) < 4

    vcpu.until(answer)
    assert times == [1, 3, 5, 7]


def test_wfi_is_idle_and_goes_on_after_it(board):
    vcpu = board.vcpu(2)
    assert vcpu.step()[0] == "IDLE"
    assert vcpu.step() == ("HVC", [1] + [0] * 17)
    assert vcpu.step()[0] == "IDLE"
    assert vcpu.until(lambda ctx, exit_: exit_ == exits.IDLE)[-1] == ("HVC", [2] + [0] * 17)


@pytest.mark.parametrize("kind", [IRQ, FIQ])
def test_wfi_does_not_wait_while_a_masked_interrupt_is_asserted(board, kind):
    vcpu = board.vcpu(2)
    vcpu.runner.interrupt(kind, True)
    assert [name for name, _ in (vcpu.step(), vcpu.step())] == ["HVC", "HVC"]
    vcpu.runner.interrupt(kind, False)
    assert vcpu.step()[0] == "IDLE"


def test_a_stretch_ends_at_a_deadline(board):
    vcpu = board.vcpu(3)
    fired = []
    board.clock.at(1_234, lambda: fired.append(vcpu.runner.instructions))
    assert vcpu.step()[0] == "SLICE"
    assert fired == [1_234]
    assert vcpu.runner.instructions == 1_234


def test_instructions_may_take_longer(board):
    board.engine.instruction_time = 10
    vcpu = board.vcpu(3)
    fired = []
    board.clock.at(1_234, lambda: fired.append((vcpu.runner.instructions, board.clock.now)))
    assert vcpu.step()[0] == "SLICE"
    assert fired == [(124, 1_234)]
    assert (vcpu.runner.instructions, board.clock.now) == (124, 1_240)


def test_what_is_due_at_once_fires_first(board):
    vcpu = board.vcpu(3)
    fired = []
    board.clock.at(0, lambda: fired.append(board.clock.now))
    vcpu.step()
    assert fired == [0]
    assert vcpu.runner.instructions == 100_000


def test_a_kick_ends_the_run_with_a_slice(board):
    vcpu = board.vcpu(0)
    seen = []

    def answer(ctx, exit_):
        seen.append(exit_)
        if len(seen) == 3:
            vcpu.runner.kick()
        return exit_ != exits.SLICE

    vcpu.until(answer)
    assert seen == [exits.SMC] * 3 + [exits.SLICE]
    vcpu.runner.kick()  # nothing executes: nothing happens
    assert vcpu.step()[0] == "SMC"


def test_starting_again_forgets_everything(board):
    vcpu = board.vcpu(3)
    vcpu.step()
    vcpu.runner.start(IPA, 5)
    assert vcpu.step() == ("SMC", [5] + [0] * 17)
    assert vcpu.runner.registers()["x19"] == 0
    assert vcpu.runner.instructions == 100_001


def test_running_without_a_start_is_a_crash(board):
    vcpu = board.vcpu(None)
    assert vcpu.step()[0] == "CRASH"
    assert "never started" in vcpu.ctx.crash


def test_running_after_close_is_a_crash(board):
    vcpu = board.vcpu(0)
    vcpu.runner.close()
    vcpu.runner.close()
    assert vcpu.step()[0] == "CRASH"
    assert "closed" in vcpu.ctx.crash


def test_an_error_of_the_trap_comes_out_of_run_and_the_vcpu_can_go_on(board):
    vcpu = board.vcpu(0)

    def trap(ctx, exit_):
        raise LookupError("firmware")

    with pytest.raises(LookupError, match="firmware"):
        vcpu.runner.run(vcpu.ctx, trap)
    vcpu.ctx.x[:] = [3] * 18
    assert vcpu.step() == ("SMC", [3] * 18)


def test_an_answer_that_no_register_holds_is_an_error(board):
    vcpu = board.vcpu(0)

    def trap(ctx, exit_):
        ctx.x[3] = -1
        return True

    with pytest.raises(ValueError, match="x3 is -0x1, no unsigned integer of 64 bits"):
        vcpu.runner.run(vcpu.ctx, trap)


def test_an_error_of_the_handler_comes_out_of_run(board):
    def sysreg(ctx, name, write, value):
        raise LookupError(name)

    board.engine.sysreg = sysreg
    for case, name in ((9, "ICC_IAR1_EL1"), (15, "CNTV_CVAL_EL0")):
        with pytest.raises(LookupError, match=name):
            board.vcpu(case).step()


def test_an_error_of_unicorn_is_a_crash(board, monkeypatch):
    vcpu = board.vcpu(0)
    vcpu.runner.interpreted = True  # the loop in C calls Unicorn itself
    monkeypatch.setattr(vcpu.runner._emulator, "run", lambda *_: 21)
    assert vcpu.step()[0] == "CRASH"
    assert "Unicorn's error 21" in vcpu.ctx.crash
    assert f"PC {IPA:#x}" in vcpu.ctx.crash


def test_runs_are_equal(board):
    def trace():
        other = Board()
        vcpu = other.vcpu(7)
        steps = [vcpu.step() for _ in range(3)]
        now = other.clock.now
        other.close()
        return steps, now, vcpu.runner.instructions

    assert trace() == trace()


def test_a_secure_vcpu_without_stage_2_sees_all_memory(board):
    vcpu = board.vcpu(0, secure=True, stage2=None)
    assert vcpu.step()[0] == "SMC"


def test_an_engine_checks_its_options(board):
    with pytest.raises(ValueError, match="cortex-a72"):
        Board(model="cortex-m0")
    with pytest.raises(ValueError, match="slice of 0"):
        Board(slice_=0)
    with pytest.raises(ValueError, match="EL2"):
        board.engine.runner(level=2, mpidr=0, secure=False, stage2=board.stage2)


@pytest.mark.parametrize("model", ["cortex-a53", "cortex-a57", "cortex-a72", "max"])
def test_every_model_runs(model):
    board = Board(model=model)
    vcpu = board.vcpu(0)
    vcpu.step()
    assert vcpu.step()[0] == "SMC"
    assert vcpu.runner.registers()["pc"] == IPA + 4
    board.close()


def test_the_image_is_where_it_should_be(board):
    assert board.stage2.pa_of(IPA) == NORMAL_RAM
