"""What images that were written for Hafnium rely on (`hafnium_sp.S`)."""

import struct
from pathlib import Path

import pytest

from ffabric.abi import hafnium, psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import pack_ids
from ffabric.firmware.state.virtual_interrupts import FIQ, IRQ
from ffabric.machine.gic import GROUP1NS
from ffabric.system.description.python import sp, vm
from ffabric.system.manifest.manifest import ExceptionLevel, NsInterruptsAction

IMAGE = (Path(__file__).parents[2] / "images" / "hafnium_sp.bin").read_bytes()
NOTES = len(IMAGE)
MEMORY = 0x1_0000
PES = 4
INTERRUPT = 1


SMC, SVC = 0xD4000003, 0xD4000001


def waits(conduit):
    """An image that does nothing but wait for messages."""
    high = 0xD2A00000 | fid.FFA_MSG_WAIT >> 16 << 5
    low = 0xF2800000 | (fid.FFA_MSG_WAIT & 0xFFFF) << 5
    return struct.pack("<4I", high, low, conduit, 0x17FFFFFD)


class Rig:
    """An SP of the image with a context on each PE, and a VM with as many vCPUs."""

    def __init__(self, ffabric, **options):
        image = sp("h", image=IMAGE, vcpus=PES, mem_size=MEMORY, **options)
        self.system = ffabric.boot(sps=[image], vms=[vm("v", vcpus=PES)], pes=PES)
        self.machine = self.system.system.machine
        self.v = self.system.vm("v")
        self.endpoint = self.system.system.endpoint("h")
        for pe in self.machine.pes[1:]:
            self.v.ffa.call(psci.CPU_ON_64, pe.mpidr, 0x4000_0000, 0)
        self.request(0)

    def request(self, pe, *payload):
        """Ask the context on a PE: x3, x4, x5 of its answer; "interrupted" if that came first."""
        ids = pack_ids(self.v.id, self.endpoint.id)
        x = self.v.vcpu(pe).call(fid.FFA_MSG_SEND_DIRECT_REQ_32, ids, 0, *payload)
        assert x[0] == fid.FFA_MSG_SEND_DIRECT_RESP_32
        return tuple(x[3:6])

    def at_entry(self, index):
        base = self.endpoint.spec.load_address + 0x4000 + NOTES + 64 * index
        return struct.unpack("<8Q", self.endpoint.memory.read(base, 64))


@pytest.fixture
def rig(ffabric):
    return Rig(ffabric)


def test_each_context_begins_with_the_index_of_its_pe_in_x4(rig):
    assert [rig.at_entry(index)[1:] for index in range(PES)] == [
        (0, 0, 0, index, 0, 0, 0) for index in range(PES)
    ]


@pytest.mark.parametrize("register", [0, 1, 2, 3])
def test_the_boot_information_is_in_the_register_of_the_manifest(ffabric, register):
    rig = Rig(ffabric, gp_register_num=register, boot_info=("ffa-manifest",))
    first = list(rig.at_entry(0))
    assert first.pop(register)
    assert first == [0, 0, 0, 0, 0, 0, 0]
    assert rig.at_entry(1) == (0, 0, 0, 0, 1, 0, 0, 0)


def test_the_interrupts_of_the_framework_are_enabled_from_the_start(ffabric):
    managed = NsInterruptsAction.MANAGED_EXIT
    sps = [
        sp("both", image=waits(SMC), notification_support=True, ns_interrupts_action=managed),
        sp(
            "irq",
            image=waits(SMC),
            managed_exit_virq=True,
            notification_support=False,
            ns_interrupts_action=managed,
        ),
        sp("user", image=waits(SVC), exception_level=ExceptionLevel.S_EL0),
        sp("none", image=waits(SMC), notification_support=False),
        sp("driven"),  # what is no image enables its interrupts itself
    ]
    system = ffabric.boot(sps=sps, vms=["v"]).system
    npi, mei = hafnium.NOTIFICATION_PENDING_INTID, hafnium.MANAGED_EXIT_INTID
    enabled = {
        name: system.endpoint(name).partition.contexts[0].virq.enabled
        for name in ("both", "irq", "user", "none", "driven")
    }
    assert enabled == {
        "both": {npi: IRQ, mei: FIQ},
        "irq": {mei: IRQ},
        "user": {},
        "none": {},
        "driven": {},
    }


@pytest.mark.parametrize("hypervisor", [True, False])
def test_the_sri_is_enabled_on_every_pe(ffabric, hypervisor):
    system = ffabric.boot(sps=["s"], vms=["v"], pes=PES, hypervisor=hypervisor).system
    gic = system.machine.gic
    for pe in range(PES):
        assert gic.private[pe].enabled >> hafnium.SCHEDULE_RECEIVER_INTID & 1
        assert gic.group(hafnium.SCHEDULE_RECEIVER_INTID, pe) == GROUP1NS


def test_a_context_interrupts_itself(rig):
    assert rig.request(0, INTERRUPT, 0)[2] == 0
    assert rig.request(0) == (1, hafnium.IPI_INTID, 0)


def test_a_context_interrupts_another_that_waits_and_the_scheduler_hears(rig):
    assert rig.request(0, INTERRUPT, 2) == (0, 0, 0)
    assert rig.request(1) == (0, 0, 0)
    assert rig.request(2) == (1, hafnium.IPI_INTID, 0)


def test_a_context_that_is_not_there_is_not_interrupted(rig):
    assert rig.request(0, INTERRUPT, PES)[2] == 0xFFFF_FFFF


@pytest.mark.parametrize("version", [0x10000, 0x10001])
@pytest.mark.parametrize(
    ("function", "room"), [(fid.FFA_CONSOLE_LOG_32, 24), (fid.FFA_CONSOLE_LOG_64, 48)]
)
@pytest.mark.parametrize("world", ["sp", "vm"])
def test_the_console_is_for_older_versions_too(ffabric, version, function, room, world):
    asked = {"ffa_version": version, "messaging_method": 7}
    system = ffabric.boot(sps=[sp("s", **asked)], vms=[vm("v", **asked)])
    lines = []
    system.system.listeners.append(lambda name, line: lines.append((name, line)))
    caller = getattr(system, world)(world[0])
    text = bytes(65 + n % 26 for n in range(room - 1)) + b"\n"
    words = struct.unpack("<6I" if room == 24 else "<6Q", text)
    assert caller.ffa.call(function, room, *words)[0] == fid.FFA_SUCCESS_32
    assert lines == [(world[0], text[:-1].decode())]
    noise = [word | 0xA5A5 << 32 for word in words] if room == 24 else words
    assert caller.ffa.call(function, room | 0xA5A5 << 32, *noise)[0] == fid.FFA_SUCCESS_32
    assert lines == [(world[0], text[:-1].decode())] * 2
    assert caller.ffa.call(function, room + 1, *words)[0] == fid.FFA_ERROR
    assert caller.ffa.call(fid.FFA_FEATURES, function)[0] == fid.FFA_ERROR


@pytest.mark.parametrize("function", hafnium.REMOVED)
def test_a_call_that_hafnium_has_no_more_is_refused_by_its_name(ffabric, function):
    """As Hafnium answers what it does not know; the rule says which release had it last."""
    name, last = hafnium.FUNCTIONS[function].name, hafnium.REMOVED[function]
    system = ffabric.boot(sps=["s"], vms=["v"])
    heard = []
    system.system.heard = lambda _pe, refusal: heard.append(refusal)
    answer = system.sp("s").ffa.call(function, 65, 66)
    assert answer[:4] == ((1 << 64) - 1, 65, 66, 0)
    assert [(each.rule.id, each.got, each.expected) for each in heard] == [
        ("hafnium.removed_call", name, f"a call of Hafnium after {last}")
    ]


def test_a_call_that_hafnium_never_had_has_no_name(ffabric):
    """The neighbour: the same answer, and no rule."""
    system = ffabric.boot(sps=["s"], vms=["v"])
    heard = []
    system.system.heard = lambda _pe, refusal: heard.append(refusal)
    caller = system.sp("s")
    assert caller.ffa.call(0xFF00, 65)[:2] == ((1 << 64) - 1, 65)
    assert caller.ffa.call(hafnium.HF_INTERRUPT_GET)[0] == hafnium.INVALID_INTID
    assert heard == []
