"""The Unicorn engine: an interrupt is taken exactly where the architecture takes it.

The image (`interrupts.S`) opens windows of two instructions, or fewer, in which the interrupt must
be taken, or shows that it must not. The cases are those of Arm ARM DDI 0487, D1.3.6 (masking) and
D1.3.7 (prioritization and recognition of interrupts), and of context synchronization (B2.7.4).
"""

import pytest
from unicorn_board import Board

from ffabric.machine.context import FIQ, IRQ
from ffabric.machine.translation import descriptors as s2

NONE = 1
FROM_EL0 = 0x200
VECTORS = {IRQ: 0x280, FIQ: 0x300}
DEVICE = 0x1C09_0000

CASES = {
    "MSR DAIFClr": (0, True),
    "MSR DAIF": (1, True),
    "MSR DAIFClr, ISB, MSR DAIFSet": (2, True),
    "ERET to the same level": (3, True),
    "ERET to the same level, masked": (4, False),
    "ERET to EL0": (5, True),
    "ERET to EL0, masked": (6, False),
    "a handler that returns into another PSTATE": (7, True),
    "WFI, masked, then MSR DAIFClr": (10, True),
    "WFE, masked, then MSR DAIFClr": (11, True),
    "MSR DAIFClr, WFI": (12, True),
    "raised in a call, masked": (13, False),
    "raised in a call, not masked": (14, True),
}


@pytest.fixture
def board():
    board = Board("interrupts")
    yield board
    board.close()


@pytest.fixture(params=[IRQ, FIQ], ids=["IRQ", "FIQ"])
def kind(request):
    return request.param


def judge(vcpu, kind, taken):
    """The image says next whether it took the interrupt, and that it did so where x20 says."""
    name, x = vcpu.step()
    assert name == "HVC"
    if taken:
        assert (x[0], x[1]) == (VECTORS[kind], vcpu.runner.registers()["x20"])
    else:
        assert x[0] == NONE


@pytest.mark.parametrize("case", CASES)
def test_where_an_interrupt_is_taken(board, case, kind):
    number, taken = CASES[case]
    vcpu = board.vcpu(number)
    calls = 2 if number in {13, 14} else 1
    for _ in range(calls):
        assert vcpu.step()[0] == "SMC"
    vcpu.runner.interrupt(kind, True)
    name, x = vcpu.step()
    assert name == "HVC"
    if taken:
        assert x[0] == VECTORS[kind] + (FROM_EL0 if number == 5 else 0)
        assert x[1] == vcpu.runner.registers()["x20"]
    else:
        assert x[0] in {NONE, 0x400}


@pytest.mark.parametrize("number", [number for number, _ in CASES.values() if number < 12])
def test_an_interrupt_that_is_withdrawn_before_is_not_taken(board, number, kind):
    vcpu = board.vcpu(number)
    assert vcpu.step()[0] == "SMC"
    vcpu.runner.interrupt(kind, True)
    vcpu.runner.interrupt(kind, False)
    name, x = vcpu.step()
    if name == "IDLE":  # nothing ends a WFI
        name, x = vcpu.step()
    assert name == "HVC"
    assert x[0] in {NONE, 0x400}


@pytest.mark.parametrize(("number", "taken"), [(8, True), (9, False)])
def test_a_priority_mask_that_opens_lets_the_interrupt_through_at_once(board, number, taken, kind):
    vcpu = board.vcpu(number)

    def sysreg(ctx, name, write, value):
        assert (name, write) == ("ICC_PMR_EL1", True)
        vcpu.runner.interrupt(kind, value == 0xFF)
        return 0

    board.engine.sysreg = sysreg
    assert vcpu.step()[0] == "SMC"
    judge(vcpu, kind, taken)


def test_a_device_that_raises_it_is_followed_by_it(kind):
    board = Board("interrupts")

    class Device:
        def write(self, offset, size, value):
            vcpu.runner.interrupt(kind, True)

    board.bus.add(DEVICE, 0x1000, Device(), secure=None)  # type: ignore[arg-type]
    device = s2.VALID | s2.AF | s2.MEMATTR_DEVICE_NGNRNE | s2.S2AP_R | s2.S2AP_W | s2.SW_NS
    board.stage2.map(DEVICE, DEVICE, 1, device)
    vcpu = board.vcpu(15, x0=DEVICE)
    assert vcpu.step()[0] == "SMC"
    judge(vcpu, kind, taken=True)
    board.close()


@pytest.mark.parametrize(
    ("number", "raised", "taken"),
    [(16, IRQ, True), (16, FIQ, False), (17, FIQ, True), (17, IRQ, False)],
)
def test_irq_and_fiq_are_masked_one_by_one(board, number, raised, taken):
    vcpu = board.vcpu(number)
    assert vcpu.step()[0] == "SMC"
    vcpu.runner.interrupt(raised, True)
    name, x = vcpu.step()
    assert (name, x[0]) == ("HVC", VECTORS[raised] if taken else NONE)


@pytest.mark.parametrize(("number", "taken"), [(18, False), (19, True), (20, True)])
def test_el2_takes_what_is_routed_to_it(board, number, taken, kind):
    vcpu = board.vcpu(number, level=2)
    assert vcpu.step()[0] == "SMC"
    vcpu.runner.interrupt(kind, True)
    judge(vcpu, kind, taken)


def test_the_same_places_whatever_the_slices_are(kind):
    places = set()
    for slice_ in (1, 2, 3, 7, 100_000):
        board = Board("interrupts", slice_=slice_)
        vcpu = board.vcpu(0)
        while vcpu.step()[0] == "SLICE":
            pass
        vcpu.runner.interrupt(kind, True)
        while (step := vcpu.step())[0] == "SLICE":
            pass
        places.add((step[1][0], step[1][1]))
        board.close()
    assert len(places) == 1
