"""The memory between a CPU in QEMU and its runner, with a fake CPU on the other side."""

import re
from pathlib import Path

import pytest

import ffabric.machine.engines.qemu
from ffabric.machine import exits
from ffabric.machine.engines.qemu import mailbox as layout
from ffabric.machine.engines.qemu import process as qemu_process
from ffabric.machine.engines.qemu.mailbox import Mailbox
from ffabric.machine.host import process

pytestmark = pytest.mark.usefixtures("form")
FOLDER = Path(ffabric.machine.engines.qemu.__file__).parent
SHIM = "".join((FOLDER / name).read_text() for name in ("mailbox.inc", "shim.inc", "confined.inc"))
OWN = {name for name, value in vars(layout).items() if name.isupper() and isinstance(value, int)}


class Cpu:
    """What the shim does on one CPU."""

    def __init__(self, words, cpu):
        at = (layout.BLOCKS + (cpu << layout.BLOCK_SHIFT)) // 8
        self.words = words[at : at + 128]

    def __getitem__(self, field):
        return self.words[field // 8]

    def __setitem__(self, field, value):
        self.words[field // 8] = value

    def ask(self, *x, kind=exits.SMC):
        for index, value in enumerate(x):
            self.words[layout.X // 8 + index] = value
        self[layout.KIND] = kind
        self[layout.REQUEST] = (self[layout.REQUEST] + 1) & (2**64 - 1)

    @property
    def answered(self):
        return self[layout.ANSWER] == self[layout.REQUEST]

    def serve(self):
        taken = []
        while self[layout.HEAD] != self[layout.TAIL]:
            slot = self[layout.TAIL] & layout.RING_MASK
            taken.append(self.words[layout.RING // 8 + slot])
            self[layout.TAIL] = (self[layout.TAIL] + 1) & (2**64 - 1)
        return taken


@pytest.fixture
def woken():
    return []


@pytest.fixture
def sides(woken):
    words = memoryview(bytearray(layout.SIZE)).cast("Q")
    return Mailbox(words).block(3, woken.append), Cpu(words, 3)


def test_shim_and_runner_agree_where_everything_is():
    said = dict(re.findall(r"\.equ\s+(\w+), (\w+)", SHIM))
    shared = OWN & said.keys()
    assert {"REQUEST", "ANSWER", "READY", "GONE", "RING", "X", "BLOCKS"} <= shared
    assert {name: int(said[name], 0) for name in shared} == {
        name: getattr(layout, name) for name in shared
    }
    kinds = {name.removeprefix("KIND_"): value for name, value in said.items() if "KIND_" in name}
    assert kinds.keys() == {"SMC", "HVC", "SVC", "ABORT", "IDLE", "SLICE", "CRASH"}
    assert {name: int(value) for name, value in kinds.items()} == {
        name: getattr(exits, name) for name in kinds
    }


def test_the_blocks_of_all_cpus_fit():
    assert layout.BLOCKS + (layout.MAX_CPUS << layout.BLOCK_SHIFT) <= layout.SIZE
    assert layout.BLOCKS + (layout.MAX_CPUS << layout.BLOCK_SHIFT) <= layout.STUB
    assert layout.RING + 8 * (layout.RING_MASK + 1) <= layout.PREEMPT
    assert layout.SERVED < 1 << layout.BLOCK_SHIFT
    assert layout.STUB + 0x800 <= layout.TOUCHES
    assert layout.TOUCHES + 16 * (layout.TOUCH_MASK + 1) <= layout.SIZE
    assert layout.X + 8 * layout.REGISTERS <= layout.RING


def test_of_an_exit_the_line_that_both_sides_look_at_has_its_number_alone():
    line = 64
    looked_at = {layout.REQUEST // line, layout.ANSWER // line}
    assert looked_at == {0}
    assert not looked_at & {each // line for each in (layout.KIND, layout.TICKS, layout.X)}


def test_a_call_and_its_answer(sides, woken):
    block, cpu = sides
    assert not block.asks
    cpu.ask(*range(100, 118))
    assert block.asks
    taken = [0] * 18
    assert block.exchange.take(taken, 1) == exits.SMC
    assert taken == list(range(100, 118))
    block.answer([*range(18)])
    assert cpu.answered
    assert not block.asks
    assert cpu.words[layout.X // 8 : layout.X // 8 + 18].tolist() == list(range(18))
    assert woken == []


def test_who_sleeps_is_woken_for_its_answer(sides, woken):
    block, cpu = sides
    cpu.ask(1)
    cpu[layout.ASLEEP] = 1
    block.answer([0] * 18)
    assert woken == [3]


def test_a_call_may_go_on_elsewhere(sides):
    block, cpu = sides
    cpu.ask(1)
    block.answer([*range(18)], 0x0E10_0004)
    assert cpu[layout.RESUME] == 0x0E10_0004
    cpu.ask(2)
    block.answer([*range(18)])
    assert cpu[layout.RESUME] == 0


def test_who_has_to_make_way_is_woken(sides, woken):
    block, cpu = sides
    block.foreign(pending=True)
    assert (cpu[layout.FOREIGN], woken) == (1, [3])
    block.foreign(pending=False)
    assert (cpu[layout.FOREIGN], woken) == (0, [3])


def test_a_notification_is_seen_once(sides):
    block, cpu = sides
    assert not block.notified()
    cpu[layout.NOTIFIED] += 1
    assert [block.notified(), block.notified()] == [True, False]


def test_an_exit_that_was_no_call_goes_on_with_the_registers_it_had(sides):
    block, cpu = sides
    cpu.ask(*range(100, 118), kind=exits.ABORT)
    block.resume()
    assert cpu.answered
    assert cpu.words[layout.X // 8 : layout.X // 8 + 18].tolist() == list(range(100, 118))


def test_a_cpu_executes_while_it_was_started_and_asks_nothing(sides):
    block, cpu = sides
    assert not block.executes
    block.start(0x4000_0000, [0] * 18, 1)
    assert block.executes
    cpu.ask(1)
    assert not block.executes
    block.answer([0] * 18)
    assert block.executes


def test_the_page_of_a_fault_is_what_bits_43_to_4_say(sides):
    block, cpu = sides
    cpu[layout.IPA] = 1 << 63 | 0x123_4567 << 4
    assert block.fault_page == 0x123_4567_000


def test_sequence_numbers_may_wrap(sides):
    block, cpu = sides
    cpu[layout.REQUEST] = cpu[layout.ANSWER] = 2**64 - 1
    cpu.ask(1)
    assert block.asks
    block.answer([0] * 18)
    assert cpu.answered


def test_a_start_drops_what_was_asked(sides, woken):
    block, cpu = sides
    cpu.ask(1)
    block.start(0x4000_0000, range(50, 68), 1)
    assert cpu[layout.START] != cpu[layout.STARTED]
    assert (cpu[layout.ENTRY], cpu[layout.LEVEL]) == (0x4000_0000, 1)
    assert cpu.words[layout.X // 8 : layout.X // 8 + 18].tolist() == list(range(50, 68))
    assert not block.asks
    assert woken == [3]


def test_interrupts_arrive_in_order_and_wait_for_room(sides, woken):
    block, cpu = sides
    for intid in range(20):
        block.pend(intid)
    assert cpu.serve() == list(range(16))
    block.flush()
    assert cpu.serve() == list(range(16, 20))
    block.flush()
    assert cpu.serve() == []
    assert set(woken) == {3}


def test_a_forged_tail_does_no_harm(sides):
    block, cpu = sides
    cpu[layout.TAIL] = 12345
    block.pend(8)
    cpu[layout.TAIL] = cpu[layout.HEAD]
    block.flush()
    assert cpu.serve() == [8]


def test_what_all_cpus_share():
    words = memoryview(bytearray(layout.SIZE)).cast("Q")
    mailbox = Mailbox(words)
    mailbox.setup(patience=7, spin=3, gone=(1, 2, 3))
    assert words[:8].tolist() == [0, 7, 3, 1, 1, 2, 3, 0]
    mailbox.attend(awake=False, spin=4)
    assert words[layout.SPIN // 8] == 4
    assert (words[layout.ALIVE // 8], words[layout.AWAKE // 8]) == (1, 0)
    assert not mailbox.ready
    words[layout.READY // 8] = 1
    assert mailbox.ready
    mailbox.load(0x9001_0000, 0x0E10_0000, 0x1234)
    mailbox.watch(219)
    assert words[9:13].tolist() == [0x9001_0000, 0x0E10_0000, 0x1234, 219]


@pytest.mark.parametrize("world", [qemu_process.NORMAL, qemu_process.SECURE])
def test_the_shim_is_told_where_the_mailbox_is(world):
    code = qemu_process.shim(0x1234_5678_9000, world)
    assert code[8:40] == (0x1234_5678_9000).to_bytes(8, "little") + bytes(24)
    assert len(code) < 8192


def test_the_shim_is_told_by_what_the_guest_is_confined():
    confinement = qemu_process.Confinement(vttbr=1, vtcr=2, hcr=3)
    code = qemu_process.shim(0, confinement=confinement)
    words = memoryview(code[8:40]).cast("Q")
    assert words.tolist() == [0, confinement.hcr, confinement.vttbr, confinement.vtcr]


def test_what_is_to_be_forgotten_has_room_for_so_many_ranges():
    words = memoryview(bytearray(layout.SIZE)).cast("Q")
    mailbox = Mailbox(words)
    told = [mailbox.touch(n << 12, 0x1000) for n in range(513)]
    assert told == [True] * 512 + [False]
    words[layout.TOUCH_TAIL // 8] = 1
    assert mailbox.touch(0x5000, 0x2000)
    assert words[layout.TOUCHES // 8 : layout.TOUCHES // 8 + 2].tolist() == [0x5000, 0x2000]


def test_vectors_of_el2_say_which_they_are():
    words = memoryview(bytearray(layout.SIZE)).cast("Q")
    Mailbox(words).confine()
    at = layout.STUB // 8
    assert words[at] == 0x1400_0000_D400_0003
    assert words[at + 8 * 16] == 0x1400_0000_D400_0103


def test_a_program_that_is_missing_is_named_with_its_package(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(process.MissingProgram, match="sudo apt-get install qemu-system-arm"):
        qemu_process.find_program()
