"""The Unicorn engine: stage 2, stage 1, devices, and what several vCPUs share."""

import struct

import pytest
from unicorn_board import IPA, NORMAL, NORMAL_RAM, SECURE_RAM, Board

from ffabric.machine import exits
from ffabric.machine.engines.unicorn import native
from ffabric.machine.engines.unicorn.code import TranslatedCode
from ffabric.machine.translation import descriptors as s2
from ffabric.machine.translation.stage2 import Stage2

PAGE = IPA + 0x10_0000
PAGE_PA = NORMAL_RAM + 0x10_0000
OTHER_PA = SECURE_RAM + 0x1000
VIRTUAL = 0xFFFF_FF80_0000_0000
RET = 0xD65F03C0


@pytest.fixture
def board():
    board = Board()
    yield board
    board.close()


def put(board, pa, value, *, secure=False):
    board.memory.write64(pa, value, secure=secure)


def get(board, pa, *, secure=False):
    return board.memory.read64(pa, secure=secure)


def function(value):
    """MOV x0, #value; RET."""
    return struct.pack("<II", 0xD2800000 | value << 5, RET)


def test_loads_and_stores_go_through_stage_2(board):
    put(board, PAGE_PA, 0x1122334455667788)
    vcpu = board.vcpu(4, x0=PAGE)
    assert vcpu.step()[1][1] == 0x1122334455667788
    board.stage2.map(PAGE, OTHER_PA, 1, NORMAL)
    put(board, OTHER_PA, 99, secure=True)
    assert vcpu.step()[1][1] == 99


@pytest.mark.parametrize(
    ("change", "write", "status"),
    [
        (lambda stage2: stage2.unmap(PAGE, 1), False, 0x07),
        (lambda stage2: stage2.update(PAGE, 1, s2.VALID, 0), False, 0x07),
        (lambda stage2: stage2.update(PAGE, 1, s2.S2AP_R | s2.S2AP_W, 0), False, 0x0F),
        (lambda stage2: stage2.update(PAGE, 1, s2.S2AP_W, 0), True, 0x4F),
    ],
)
def test_a_change_of_stage_2_is_seen_at_once(board, change, write, status):
    vcpu = board.vcpu(4, x0=PAGE)
    vcpu.step()
    change(board.stage2)
    vcpu.ctx.x[0] = PAGE + 8
    assert vcpu.step()[0] == "ABORT"
    fault = vcpu.ctx.fault
    assert (fault.kind, fault.ipa, fault.va) == ("data", PAGE + 8, PAGE + 8)
    assert fault.write is write
    assert fault.syndrome >> 26 == 0x24
    assert fault.syndrome & 0x7F == status


def test_a_change_in_the_trap_is_seen_by_the_next_instruction(board):
    put(board, PAGE_PA, 1)
    put(board, OTHER_PA, 2, secure=True)
    vcpu = board.vcpu(4, x0=PAGE)
    values = []

    def answer(ctx, exit_):
        values.append(ctx.x[1])
        board.stage2.map(PAGE, OTHER_PA if len(values) % 2 else PAGE_PA, 1, NORMAL)
        return len(values) < 5

    vcpu.until(answer)
    assert values == [1, 2, 1, 2, 1]


def test_an_abort_is_retried(board):
    put(board, PAGE_PA, 5)
    vcpu = board.vcpu(4, x0=PAGE)
    board.stage2.unmap(PAGE, 1)

    def answer(ctx, exit_):
        if exit_ == exits.ABORT:
            board.stage2.map(PAGE, PAGE_PA, 1, NORMAL)
        return exit_ == exits.ABORT

    steps = vcpu.until(answer)
    assert [name for name, _ in steps] == ["ABORT", "HVC"]
    assert steps[1][1][1] == 5


def test_execution_is_refused_where_stage_2_says_so(board):
    board.memory.write(PAGE_PA, function(1), secure=False)
    board.stage2.update(PAGE, 1, 0, s2.XN)
    vcpu = board.vcpu(16, x0=PAGE)
    assert vcpu.step()[0] == "ABORT"
    assert (vcpu.ctx.fault.kind, vcpu.ctx.fault.ipa) == ("fetch", PAGE)
    assert not vcpu.ctx.fault.write
    board.stage2.update(PAGE, 1, s2.XN, 0)
    assert vcpu.step()[1][0] == 1


def test_two_partitions_have_memory_of_their_own(board):
    other = Stage2(board.memory, board.pool, vmid=2)
    other.map(IPA, NORMAL_RAM, 0x10, NORMAL)
    other.map(PAGE, OTHER_PA, 1, NORMAL)
    put(board, PAGE_PA, 11)
    put(board, OTHER_PA, 22, secure=True)
    vcpus = board.vcpu(4, x0=PAGE), board.vcpu(4, x0=PAGE, stage2=other, secure=True)
    assert [[vcpu.step()[1][1] for vcpu in vcpus] for _ in range(3)] == [[11, 22]] * 3


def test_the_mmu_runs_code_where_its_tables_say(board):
    seen = []

    def sysreg(ctx, name, write, value):
        seen.append((name, write))
        return 0x3FF

    board.engine.sysreg = sysreg
    vcpu = board.vcpu(10, x0=VIRTUAL)
    name, x = vcpu.step()
    assert name == "HVC"
    assert x[0] & ~0xFFF == VIRTUAL
    assert x[1] == 0x3FF
    assert seen == [("ICC_IAR1_EL1", False)]
    assert vcpu.runner.registers()["pc"] & ~0xFFF == VIRTUAL
    name, x = vcpu.step()  # a stage 1 fault is the partition's own
    assert name == "HVC"
    assert (x[0], x[1]) == (0x200, 0x25 << 26 | 1 << 25 | 0x05)


def test_a_stage_1_walk_that_stage_2_refuses_is_an_abort_at_the_table(board):
    vcpu = board.vcpu(10, x0=VIRTUAL)
    board.engine.sysreg = lambda *_: 0
    vcpu.step()
    tables = IPA + 0x4000
    board.stage2.update(tables, 1, s2.S2AP_R | s2.S2AP_W, 0)
    vcpu.step()
    fault = vcpu.ctx.fault
    assert (fault.ipa, fault.write) == (tables, False)
    assert fault.syndrome & 1 << 7


class Scratch:
    """A device that remembers what was done to it."""

    def __init__(self):
        self.log = []

    def read(self, offset, size):
        self.log.append(("read", offset, size))
        return 0xA0 + offset

    def write(self, offset, size, value):
        self.log.append(("write", offset, size, value))


DEVICE = 0x1C0B_0000
EXPECTED = [
    ("read", 0, 4),
    ("write", 4, 4, 0xA0),
    ("read", 8, 4),
    ("read", 12, 4),
    ("write", 16, 1, 0xA0),
]


def test_devices_are_reached_through_the_bus(board):
    device = Scratch()
    board.bus.add(DEVICE, 0x20, device, secure=False)
    board.stage2.map(DEVICE, DEVICE, 1, s2.VALID | s2.S2AP_R | s2.S2AP_W | s2.AF)
    vcpu = board.vcpu(12, x0=DEVICE)
    name, x = vcpu.step()
    assert name == "HVC"
    assert x[1:4] == [0xA0, 0xAC << 32 | 0xA8, 0]  # behind the device: reads as zero
    assert device.log == EXPECTED


def test_the_views_of_a_device_go_by_world(board):
    normal, secure, second = Scratch(), Scratch(), Scratch()
    board.bus.add(DEVICE, 0x1000, normal, secure=False)
    board.bus.add(DEVICE, 0x1000, secure, secure=True)
    board.bus.add(DEVICE + 0x1000, 0x1000, second, secure=False)
    board.stage2.map(DEVICE, DEVICE, 2, s2.VALID | s2.S2AP_R | s2.S2AP_W | s2.AF)
    board.vcpu(12, x0=DEVICE).step()
    assert (normal.log[:5], secure.log, second.log) == (EXPECTED, [], [])
    board.vcpu(12, x0=DEVICE, secure=True).step()
    assert (len(normal.log), secure.log[:5]) == (6, EXPECTED)
    board.vcpu(12, x0=DEVICE + 0x1000, secure=True).step()
    assert second.log[:5] == EXPECTED


def test_a_device_sees_the_time_and_its_deadlines_are_kept(board):
    class Timer(Scratch):
        def write(self, offset, size, value):
            self.log.append(board.clock.now)
            if offset == 4:
                board.clock.at(board.clock.now + 1, lambda: self.log.append(board.clock.now))

    device = Timer()
    board.bus.add(DEVICE, 0x1000, device, secure=False)
    vcpu = board.vcpu(12, x0=DEVICE, stage2=None)
    assert vcpu.step()[0] == "SLICE"
    assert vcpu.step()[0] == "HVC"
    writes = [entry for entry in device.log if isinstance(entry, int)]
    assert writes == [2, 3, 4]


def test_an_error_of_a_device_comes_out_of_run(board):
    class Broken(Scratch):
        def read(self, offset, size):
            raise LookupError("broken")

    board.bus.add(DEVICE, 0x1000, Broken(), secure=False)
    vcpu = board.vcpu(12, x0=DEVICE, stage2=None)
    with pytest.raises(LookupError, match="broken"):
        vcpu.step()


def test_an_error_of_a_device_on_a_store_comes_out_of_run_too(board):
    class Broken(Scratch):
        def write(self, offset, size, value):
            raise LookupError("broken")

    board.bus.add(DEVICE, 0x1000, Broken(), secure=False)
    vcpu = board.vcpu(12, x0=DEVICE, stage2=None)
    with pytest.raises(LookupError, match="broken"):
        vcpu.step()


def test_code_that_another_vcpu_changed_is_fresh_after_ic(board):
    writer = board.vcpu(4, x0=PAGE, mpidr=0)
    reader = board.vcpu(16, x0=PAGE, mpidr=1)
    board.memory.write(PAGE_PA, function(1), secure=False)
    assert reader.step()[1][0] == 1
    board.memory.write(PAGE_PA, function(2), secure=False)
    reader.ctx.x[1] = 1  # IC
    assert reader.step()[1][0] == 2
    assert writer.step()[0] == "HVC"


def test_ic_of_one_vcpu_reaches_the_others(board):
    first, second = (board.vcpu(16, x0=PAGE, mpidr=n) for n in (0, 1))
    board.memory.write(PAGE_PA, function(1), secure=False)
    assert [vcpu.step()[1][0] for vcpu in (first, second)] == [1, 1]
    board.memory.write(PAGE_PA, function(2), secure=False)
    first.ctx.x[1] = 1
    assert [vcpu.step()[1][0] for vcpu in (first, second)] == [2, 2]


@pytest.fixture
def drops(monkeypatch):
    """How often translated code was dropped."""
    made = []
    drop = native.Emulator.flush_code
    monkeypatch.setattr(native.Emulator, "flush_code", lambda e: (made.append(e), drop(e))[1])  # type: ignore[func-returns-value]
    return made


def test_code_is_dropped_only_if_it_is_not_the_same_any_more(board, drops):
    vcpu = board.vcpu(16, x0=PAGE)
    board.memory.write(PAGE_PA, function(1), secure=False)
    for value, dropped in ((1, 0), (1, 0), (2, 1), (2, 1), (1, 2)):
        board.memory.write(PAGE_PA, function(value), secure=False)
        vcpu.ctx.x[0:2] = PAGE, 1  # IC
        assert vcpu.step()[1][0] == value
        assert len(drops) == dropped


def test_one_look_at_code_serves_many_ic(board, monkeypatch):
    vcpu = board.vcpu(16, x0=PAGE)
    code = struct.pack("<5I", *[0xD50B7534] * 3, 0xD2800040, RET)  # IC IVAU, X20 three times
    board.memory.write(PAGE_PA, code, secure=False)
    looks = []
    look = TranslatedCode.drop_if_changed
    monkeypatch.setattr(
        TranslatedCode,
        "drop_if_changed",
        lambda each: (looks.append(each), look(each))[1],  # type: ignore[func-returns-value]
    )
    assert vcpu.step()[1][0] == 2
    assert len(looks) == 1


def test_tlbi_of_one_vcpu_reaches_the_others(board):
    vcpus = [board.vcpu(17, x0=PAGE, mpidr=n) for n in (0, 1)]
    put(board, PAGE_PA, 1)
    put(board, OTHER_PA, 2, secure=True)
    assert [vcpu.step()[1][0] for vcpu in vcpus] == [1, 1]
    generation = board.stage2.generation
    board.stage2.map(PAGE, OTHER_PA, 1, NORMAL)
    board.stage2.generation = generation  # as if the partition had changed its own tables
    for vcpu in vcpus:
        vcpu.ctx.x[0] = 0
    assert vcpus[1].step()[1][0] == 1
    vcpus[1].ctx.x[0] = 0
    vcpus[0].ctx.x[0] = 1
    assert [vcpu.step()[1][0] for vcpu in vcpus] == [2, 2]
