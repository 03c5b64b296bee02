"""What a hostile guest in QEMU tries at EL1 and EL0, with the real QEMU: it reaches nothing."""

import random
import shutil

import pytest
from puppets import CODE, RAM, Puppets, map_buffers, send

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.lab.bench.images import caller
from ffabric.machine.engines.qemu import mailbox as layout
from ffabric.machine.events import Call
from ffabric.system.description.python import vm
from ffabric.system.spec import KernelBoot

PAGE = RAM + 0x10_0000
COUNTER, STOP = RAM + 0x18_0000, RAM + 0x18_1000
GICD, GICR = 0x0800_0000, 0x080A_0000
DEVICES = {
    "flash": 0x0,
    "second flash": 0x0400_0000,
    "GICv2 CPU interface": 0x0801_0000,
    "ITS": 0x0808_0000,
    "redistributor of a CPU that it has not": GICR + 0x2_0000,
    "RTC": 0x0901_0000,
    "fw_cfg": 0x0902_0000,
    "DMA of fw_cfg": 0x0902_0010,
    "GPIO": 0x0903_0000,
    "doorbell": 0x0904_0000,
    "virtio-mmio": 0x0A00_0000,
    "secure RAM": 0x0E00_0000,
    "PCI": 0x1000_0000,
    "PCI I/O": 0x3EFF_0000,
    "PCI configuration": 0x40_1000_0000,
    "PCI, high": 0x80_0000_0000,
    "QEMU's devicetree": RAM + (1 << 30),
    "no IPA": 1 << 40,
}


ID_GET = {
    conduit: b"".join(
        word.to_bytes(4, "little")
        for word in (0x5280_0D20, 0x72B0_8000, call, 0xD65F_03C0)  # mov w0, movk w0, call, ret
    )
    for conduit, call in (("smc", 0xD400_0003), ("hvc", 0xD400_0002))
}


class Heard:
    """A tracer that knows the functions that the guest has called."""

    def __init__(self):
        self.functions = set()

    def record(self, event):
        if isinstance(event, Call) and event.endpoint == "vm0":
            self.functions.add(event.x[0] & MASK32)


@pytest.fixture(autouse=True)
def qemu():
    if shutil.which("qemu-system-aarch64") is None:
        pytest.fail("no QEMU: apt-get install qemu-system-arm")


def tries_all(cpu, address):
    """Whether every access from EL1 and EL0 aborts."""
    data = [cpu.do(what, address, 1) for what in ("load", "store", "execute", "load32", "store32")]
    user = [cpu.do("user", address, 1, how) for how in (0, 1, 2)]
    return all(result.aborted for result in data + user)


@pytest.mark.parametrize("what", DEVICES)
def test_devices_of_qemus_machine_are_not_there(what):
    with Puppets(1) as puppets:
        ((cpu,),) = puppets.cpus
        assert tries_all(cpu, DEVICES[what])
        assert cpu.do("load", PAGE).exceptions == 0


def test_what_is_ours_and_others_is_not_there():
    with Puppets(1, 1) as puppets:
        (cpu,), (other,) = puppets.cpus
        process = cpu.endpoint.guest.process
        mailbox = process.mailbox_address
        tables = puppets.system.spec.hypervisor.memory
        for address in (
            mailbox,
            mailbox + layout.BLOCKS,
            mailbox + layout.STUB,
            tables.base,
            tables.base + tables.size - 8,
            cpu.endpoint.partition.stage2.vttbr & ((1 << 48) - 1),
            other.endpoint.spec.memory[0].pa,
            cpu.endpoint.spec.memory[0].pa,
            puppets.system.spec.spmc.memory.base,
        ):
            assert tries_all(cpu, address)


def test_its_own_page_tables_lead_nowhere_else():
    """VA 2 GiB and up: any physical address it likes, with a block of 1 GiB for each."""
    with Puppets(1, 1) as puppets:
        (cpu,), (other,) = puppets.cpus
        table, block = PAGE, 0x701  # block, AF, inner shareable, any attributes
        targets = (
            cpu.endpoint.guest.process.mailbox_address,
            other.endpoint.spec.memory[0].pa,
            puppets.system.spec.hypervisor.memory.base,
            DEVICES["fw_cfg"],
        )
        entries = [0 | block, RAM | block]
        entries += [(target & -(1 << 30)) | block for target in targets]
        cpu.write(table, b"".join(entry.to_bytes(8, "little") for entry in entries))
        assert cpu.do("translate", table).exceptions == 0
        for n, target in enumerate(targets, 2):
            va = (n << 30) | target & (1 << 30) - 1
            assert cpu.do("load", va).aborted
            assert cpu.do("store", va, 1).aborted
            assert cpu.ctx.fault.ipa == target
        assert cpu.do("translate", 0).exceptions == 0


def test_tables_where_nothing_is_hurt_only_who_has_them():
    """Not even its vectors can be fetched any more: it aborts for ever."""
    with Puppets(1, 1) as puppets:
        (cpu,), (other,) = puppets.cpus
        cpu.begin("translate", cpu.endpoint.guest.process.mailbox_address)
        for n in range(20):
            assert other.do("store", PAGE, n).exceptions == 0
        puppets.system.destroy_vm("vm0")
        assert other.do("load", PAGE).value == 19
        assert "vm0" not in puppets.system.endpoints


def test_its_gic_writes_nobodys_memory():
    """LPI tables are read and written past stage 2, if a GIC has any."""
    with Puppets(1, 1) as puppets:
        (cpu,), (other,) = puppets.cpus
        assert not cpu.do("load32", GICD + 4).value >> 17 & 1
        piece = other.endpoint.spec.memory[0]
        victim = piece.pa + (16 << 16)
        memory = puppets.memory
        memory.write(victim, b"\xa1" * 0x1_0000, secure=False)
        cpu.do("store", GICR + 0x70, victim | 13)
        cpu.do("store", GICR + 0x78, victim)
        cpu.do("store32", GICR, 1)
        cpu.do("nothing")
        assert memory.read(victim, 0x1_0000, secure=False) == b"\xa1" * 0x1_0000


def quarrel_with_the_gic(cpu):
    for offset in (0x180, 0x184, 0x188):
        cpu.do("store32", GICD + offset, MASK32)
    cpu.do("store32", GICD, 0)
    cpu.do("store32", GICR + 0x14, 2)
    cpu.do("store32", GICR + 0x1_0180, MASK32)
    cpu.do("store32", GICR + 0x1_0080, 0)
    cpu.do("group0")


def test_it_cannot_silence_the_doorbell():
    """A page is taken from CPUs that have done all they can not to hear of it."""
    with Puppets(2) as puppets:
        (cpus,) = puppets.cpus
        first, second = cpus
        first.call(psci.CPU_ON_64, 1, RAM, 0)
        map_buffers(first)
        for cpu in cpus:
            quarrel_with_the_gic(cpu)
        second.begin("spin", PAGE, COUNTER, STOP)
        answer = send(first, fid.FFA_MEM_LEND_64, [(PAGE, 1)], [0x8001])
        assert answer[0] & MASK32 == fid.FFA_SUCCESS_32
        assert second.wait().aborted


def test_garbled_calls_are_answered_and_hurt_nobody():
    rng = random.Random(20)
    functions = [fid.FFA_VERSION, psci.CPU_ON_64, psci.CPU_SUSPEND_64, 0xFF04, 0x3200_0004]
    functions += range(fid.FFA_ERROR, fid.FFA_ERROR + 0x40)
    with Puppets(1, 1) as puppets:
        (cpu,), (other,) = puppets.cpus
        map_buffers(cpu)
        for _ in range(150):
            function = rng.choice(functions) | rng.choice((0, 1 << 30))
            if function & MASK32 & ~(1 << 30) in (fid.FFA_MSG_WAIT, fid.FFA_ABORT_32):
                continue
            registers = [rng.choice((0, 1, rng.getrandbits(64), PAGE)) for _ in range(17)]
            cpu.call(function, *registers, conduit=rng.choice(("call", "hypercall")))
        assert other.do("load", PAGE).exceptions == 0
        assert cpu.do("load", PAGE).exceptions == 0


@pytest.mark.parametrize("conduit", ["smc", "hvc"])
def test_el0_makes_no_call(conduit):
    """The same code asks for its id at EL1, and is undefined at EL0: the firmware hears nothing."""
    with Puppets(1) as puppets:
        ((cpu,),) = puppets.cpus
        cpu.do("nothing")
        heard = Heard()
        puppets.system.attach(heard)
        cpu.write(PAGE, ID_GET[conduit])
        result = cpu.do("user", PAGE, 0, 2)
        assert (result.undefined, result.pc) == (True, PAGE + 8)
        assert fid.FFA_ID_GET not in heard.functions
        assert cpu.do("execute", PAGE).exceptions == 0
        assert fid.FFA_ID_GET in heard.functions


@pytest.mark.parametrize("what", ["flash", "doorbell", "secure RAM"])
def test_a_kernel_without_a_hypervisor_does_not_reach_what_is_secure(what):
    with Puppets(1, hypervisor=False) as puppets:
        ((cpu,),) = puppets.cpus
        for _ in range(10):
            assert tries_all(cpu, DEVICES[what])
        assert cpu.do("load", PAGE).exceptions == 0


def test_one_that_calls_all_the_time_does_not_keep_another_from_its_pe():
    with Puppets(1, pes=1) as puppets:
        ((cpu,),) = puppets.cpus
        storm = vm(
            name="storm",
            image=caller((fid.FFA_ID_GET,)),
            engine="qemu",
            kernel=KernelBoot(),
            mem_size=4 << 20,
        )
        cpu.do("nothing")
        puppets.system.create_vm(storm)
        for n in range(10):
            assert cpu.do("store", PAGE, n).exceptions == 0
        assert puppets.system.endpoints["storm"].partition.alive


def test_a_kernel_that_writes_the_mailbox_hurts_only_itself():
    """Without a hypervisor nothing is between a kernel and its mailbox."""
    rng = random.Random(7)
    with Puppets(1, hypervisor=False) as puppets:
        ((cpu,),) = puppets.cpus
        block = cpu.endpoint.guest.process.mailbox_address + layout.BLOCKS
        before = cpu.do("load32", GICD + 0x84).value
        gic = puppets.system.machine.gic
        for head, intid in ((1, 1 << 40), (3, 1021), (1 << 40, 5), (17, MASK32), (2**64 - 1, 40)):
            for slot in range(16):
                cpu.do("store", block + layout.RING + 8 * slot, intid)
            cpu.do("store", block + layout.HEAD, head)
            gic.set_pending(8, 0)
            assert cpu.do("load", PAGE).exceptions == 0
        for field in (layout.INJECT, layout.IDLES, layout.LINES, layout.FLUSHED, layout.AFFINITY):
            cpu.do("store", block + field, rng.getrandbits(64))
        mailbox = block - layout.BLOCKS
        for field in (layout.TOUCH_HEAD, layout.FLUSH, layout.NOTIFICATION, layout.IMAGE):
            cpu.do("store", mailbox + field, rng.getrandbits(64))
        assert cpu.do("load", PAGE).exceptions == 0
        assert cpu.do("load32", GICD + 0x84).value == before


def test_a_kernel_that_suspends_itself_goes_on():
    """Its interrupts are those of its own GIC: a suspension ends without one of ours."""
    with Puppets(1, hypervisor=False) as puppets:
        ((cpu,),) = puppets.cpus
        for _ in range(3):
            assert cpu.call(psci.PSCI_VERSION)[0] == psci.VERSION_1_1
            assert cpu.call(psci.CPU_SUSPEND_64, 0)[0] == psci.Return.SUCCESS


def test_code_that_it_has_run_is_not_another_vms():
    """A frame of a VM that is gone is clean for the next one."""
    with Puppets(1, 1) as puppets:
        (cpu,), (other,) = puppets.cpus
        cpu.write(PAGE, CODE[3])
        assert cpu.do("execute", PAGE).value == 3
        piece = cpu.endpoint.spec.memory[0]
        puppets.system.destroy_vm("vm0")
        other.do("nothing")
        assert not any(puppets.memory.read(piece.pa, piece.size, secure=False))
