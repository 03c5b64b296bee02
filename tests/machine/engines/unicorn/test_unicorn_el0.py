"""The Unicorn engine: partitions at EL0 that have no EL1."""

import pytest
from unicorn_board import IPA, Board

from ffabric.machine.context import IRQ


@pytest.fixture
def board():
    board = Board()
    yield board
    board.close()


def test_svc_is_a_call(board):
    vcpu = board.vcpu(18, x0=9, level=0)
    assert vcpu.step() == ("SVC", [9] + [0] * 17)
    vcpu.ctx.x[:] = [0, *range(17)]
    assert vcpu.step() == ("SVC", [0, *range(17)])
    assert vcpu.runner.registers()["pstate"] & 0xF == 0


def test_wfi_is_idle(board):
    vcpu = board.vcpu(18, level=0)
    vcpu.step()
    vcpu.ctx.x[0] = 1
    assert vcpu.step()[0] == "IDLE"
    assert vcpu.step() == ("SVC", [0x77] + [0] * 17)


@pytest.mark.parametrize(("answer", "instruction"), [(2, 10), (3, 6)])
def test_what_only_el1_may_do_is_a_crash(board, answer, instruction):
    vcpu = board.vcpu(18, level=0)
    vcpu.step()
    vcpu.ctx.x[0] = answer
    assert vcpu.step()[0] == "CRASH"
    assert f"EL0, PC {IPA + 0x1200 + 4 * instruction:#x} (" in vcpu.ctx.crash
    assert "ESR 0x2000000 (undefined instruction)" in vcpu.ctx.crash


def test_interrupts_are_not_its_business(board):
    vcpu = board.vcpu(18, level=0)
    vcpu.runner.interrupt(IRQ, True)
    assert vcpu.step()[0] == "SVC"
    assert vcpu.step()[0] == "SVC"


def test_stage_2_isolates_it(board):
    vcpu = board.vcpu(None, level=0)
    vcpu.runner.start(IPA + 0x40_0000, 0)
    assert vcpu.step()[0] == "ABORT"
    fault = vcpu.ctx.fault
    assert (fault.kind, fault.ipa, fault.va) == ("fetch", IPA + 0x40_0000, IPA + 0x40_0000)


def test_an_injected_abort_is_a_crash(board):
    vcpu = board.vcpu(18, level=0)
    vcpu.step()
    vcpu.runner.inject_abort(0x92000007, 0x1000)
    assert vcpu.step()[0] == "CRASH"
    assert "ESR 0x92000007 (data abort, translation fault), FAR 0x1000" in vcpu.ctx.crash
