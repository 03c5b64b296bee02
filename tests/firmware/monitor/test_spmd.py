"""The SPMD above an SPMC that is an image at S-EL1: what it relays, and what it answers itself."""

import struct
from pathlib import Path

import pytest

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.status import Status
from ffabric.abi.words import MASK32, PAGE, pack_ids
from ffabric.firmware.state.context import State
from ffabric.machine.gic import GROUP1S
from ffabric.session.ffa import Blocked
from ffabric.system.crash import PartitionCrashed
from ffabric.system.description.python import describe, sp, trusted_os, vm
from ffabric.system.description.toml.system import read_system
from ffabric.system.files.dtb import build_dtb
from ffabric.system.files.dts import read_tree
from ffabric.system.files.package import MAGIC
from ffabric.system.options.problems import SystemErrors

IMAGE = Path(__file__).parents[2] / "images" / "spmc.bin"
SPMC, SPMD, KERNEL = 0x8000, 0xFFFF, 0
WHO, SPIN, CALL, PANIC, INTERRUPTS, MANIFEST, POWER_STATUS, STARTS, POWER_ANSWER = range(9)
DEVICETREE_MAGIC = 0xEDFE0DD0
"""As a little-endian CPU reads it."""
FAILS = struct.pack("<5I", 0x52800C00, 0x72B08000, 0x12800022, 0xD4000003, 0x14000000)
"""Code that calls FFA_ERROR with -2 in w2."""
INTID = 45
OTHERS = range(48, 58)
NOT_SUPPORTED, ABORTED = Status.NOT_SUPPORTED & MASK32, Status.ABORTED & MASK32


@pytest.fixture
def boot(ffabric):
    def boot(image=IMAGE, pes=1, **options):
        spmc = trusted_os(name="spmc", image=image, protocol="ff-a", **options)
        return ffabric.boot(vms=["kernel"], trusted_os=spmc, hypervisor=False, pes=pes)

    return boot


def ask(ffa, what, *words):
    """x0 to x17 of the answer to a direct request of 64 bits."""
    short = [*words, 0, 0, 0][:4]
    return ffa.call(fid.FFA_MSG_SEND_DIRECT_REQ_64, pack_ids(KERNEL, SPMC), 0, what, *short)


def result(answer):
    assert answer[:3] == (fid.FFA_MSG_SEND_DIRECT_RESP_64, pack_ids(SPMC, KERNEL), 0)
    return answer[3:8]


def error(status):
    return (fid.FFA_ERROR, 0, status & MASK32, 0, 0, 0, 0, 0)


# What the normal world calls.


def test_the_version_is_a_framework_message_to_the_spmc(boot):
    answer = boot().vm("kernel").ffa.call(fid.FFA_VERSION, 0x1_0002, *range(50, 66))
    assert answer[:8] == (0x1_0001, 0, 0, 0, 0, 0, 0, 0)
    assert answer[8:] == tuple(range(56, 66))


def test_a_version_with_bit_31_is_not_asked_for(boot):
    answer = boot().vm("kernel").ffa.call(fid.FFA_VERSION, 1 << 31)
    assert answer[0] == NOT_SUPPORTED


def test_el3_says_who_is_who(boot):
    ffa = boot().vm("kernel").ffa
    assert ffa.call(fid.FFA_ID_GET)[:3] == (fid.FFA_SUCCESS_32, 0, KERNEL)
    assert ffa.call(fid.FFA_SPM_ID_GET)[:3] == (fid.FFA_SUCCESS_32, 0, SPMC)
    _, own, spmd, pe, tree = result(ask(ffa, WHO))
    assert (own, spmd, pe, tree) == (SPMC, SPMD, 0, DEVICETREE_MAGIC)


def test_the_features_are_the_spmcs(boot):
    answer = boot().vm("kernel").ffa.call(fid.FFA_FEATURES, 7)
    assert answer[:4] == (fid.FFA_SUCCESS_32, 0, 7, 0)


def test_a_short_answer_leaves_x8_to_x17_as_they_are(boot):
    others = tuple(range(70, 80))
    ffa = boot().vm("kernel").ffa
    answer = ffa.call(
        fid.FFA_MSG_SEND_DIRECT_REQ_64, pack_ids(KERNEL, SPMC), 0, WHO, 0, 0, 0, 0, *others
    )
    assert answer[8:] == others
    refused = ffa.call(fid.FFA_RX_RELEASE, 0, 0, 0, 0, 0, 0, 0, *others)
    assert (refused[0], refused[2]) == (fid.FFA_ERROR, NOT_SUPPORTED)
    assert refused[8:] == others


def test_an_extended_request_has_all_registers_and_so_has_its_answer(boot):
    payload = tuple(range(104, 118))
    answer = (
        boot()
        .vm("kernel")
        .ffa.call(fid.FFA_MSG_SEND_DIRECT_REQ2, pack_ids(KERNEL, SPMC), 0, 0, *payload)
    )
    assert answer == (fid.FFA_MSG_SEND_DIRECT_RESP2, pack_ids(SPMC, KERNEL), 0, 0, *payload)


@pytest.mark.parametrize(
    "function",
    [
        fid.FFA_NORMAL_WORLD_RESUME,
        fid.FFA_SECONDARY_EP_REGISTER_64,
        fid.FFA_MSG_WAIT,
        fid.FFA_MSG_SEND_DIRECT_RESP_64,
    ],
)
def test_what_an_spmc_calls_does_not_come_from_the_normal_world(boot, function):
    assert boot().vm("kernel").ffa.call(function)[:8] == error(Status.NOT_SUPPORTED)


def test_nobody_in_the_normal_world_speaks_for_the_secure_world(boot):
    ffa = boot().vm("kernel").ffa
    request = fid.FFA_MSG_SEND_DIRECT_REQ_32
    refused = ffa.call(request, pack_ids(SPMD, SPMC), 0x8000_0008, 0x1_0000)
    assert refused[:8] == error(Status.INVALID_PARAMETERS)
    heard = ffa.call(request, pack_ids(KERNEL, SPMC), 0x8000_0008, 0x1_0000)
    assert heard[:4] == (
        fid.FFA_MSG_SEND_DIRECT_RESP_32, pack_ids(SPMC, KERNEL), 0x8000_0009, 0x1_0001,
    )  # fmt: skip


# What the SPMC calls.


@pytest.mark.parametrize(
    ("function", "argument", "answer"),
    [
        (fid.FFA_VERSION, 0x1_0001, (0x1_0002, 0)),
        (fid.FFA_FEATURES, fid.FFA_MEM_SHARE_32, (fid.FFA_SUCCESS_32, 0)),
        (fid.FFA_ID_GET, 0, (fid.FFA_SUCCESS_32, SPMC)),
        (fid.FFA_RX_RELEASE, 0, (fid.FFA_ERROR, NOT_SUPPORTED)),
        (fid.FFA_NORMAL_WORLD_RESUME, 0, (fid.FFA_ERROR, NOT_SUPPORTED)),
        (psci.CPU_OFF, 0, ((1 << 64) - 1, None)),
    ],
)
def test_el3_answers_the_spmc(boot, function, argument, answer):
    x0, x2, *_ = result(ask(boot().vm("kernel").ffa, CALL, function, argument))
    assert x0 == answer[0]
    assert answer[1] in (None, x2)


def test_an_entry_point_outside_its_memory_is_refused(boot):
    refused, *_ = result(ask(boot().vm("kernel").ffa, WHO))
    assert refused == fid.FFA_ERROR


def test_each_pe_has_a_context_that_begins_where_it_was_registered(boot):
    system = boot(pes=2, vcpus=2)
    kernel = system.vm("kernel")
    mpidr = system.system.machine.pes[1].mpidr
    assert kernel.ffa.call(psci.CPU_ON_64, mpidr, 0x8000_0000, 0)[0] == 0
    assert [result(ask(kernel.vcpu(n), WHO))[3] for n in (1, 0, 1)] == [1, 0, 1]


def test_a_pe_without_a_context_has_no_spmc(boot):
    system = boot(pes=2, vcpus=1)
    kernel = system.vm("kernel")
    mpidr = system.system.machine.pes[1].mpidr
    assert kernel.ffa.call(psci.CPU_ON_64, mpidr, 0x8000_0000, 0)[0] == 0
    assert kernel.vcpu(1).call(fid.FFA_RX_RELEASE)[:8] == error(Status.ABORTED)
    assert kernel.vcpu(1).call(fid.FFA_VERSION, 0x1_0000)[0] == NOT_SUPPORTED


# Its PEs go off and come back.


def comes_on(system, pe=1):
    mpidr = system.system.machine.pes[pe].mpidr
    assert system.vm("kernel").ffa.call(psci.CPU_ON_64, mpidr, 0x8000_0000, 0)[0] == 0


def goes_off(system, pe=1):
    with pytest.raises(Blocked):
        system.vm("kernel").vcpu(pe).call(psci.CPU_OFF)
    assert not system.system.machine.pes[pe].on


def starts(kernel, pe=1):
    return result(ask(kernel.vcpu(pe), STARTS))[1]


@pytest.mark.parametrize("knows", [True, False])
def test_an_spmc_hears_that_its_pe_goes_off_and_begins_anew_when_it_comes_back(boot, knows):
    system = boot(pes=2, vcpus=2)
    kernel = system.vm("kernel")
    if knows:
        ask(kernel.ffa, POWER_STATUS, 0)
    for count in (1, 2, 3):
        comes_on(system)
        assert starts(kernel) == count
        goes_off(system)
    assert starts(kernel, 0) == 1


def test_an_spmc_may_deny_that_its_pe_goes_off(boot):
    system = boot(pes=2, vcpus=2)
    kernel = system.vm("kernel")
    comes_on(system)
    ask(kernel.ffa, POWER_STATUS, psci.Return.DENIED & MASK32)
    assert kernel.vcpu(1).call(psci.CPU_OFF)[0] == psci.Return.DENIED.register64
    assert starts(kernel) == 1
    ask(kernel.ffa, POWER_STATUS, 0)
    goes_off(system)


def test_an_spmc_that_answers_it_with_something_else_is_gone(boot):
    system = boot(pes=2, vcpus=2)
    kernel = system.vm("kernel")
    comes_on(system)
    ask(kernel.ffa, POWER_ANSWER, fid.FFA_YIELD)
    with pytest.raises(PartitionCrashed, match="FFA_YIELD answers the message that a PE goes off"):
        kernel.vcpu(1).call(psci.CPU_OFF)
    assert not system.system.machine.pes[1].on
    assert kernel.ffa.call(fid.FFA_RX_RELEASE)[:8] == error(Status.ABORTED)


WAITS = struct.pack("<5I", 0x52800D60, 0x72B08000, 0xD2800001, 0xD4000003, 0x17FFFFFC)
"""Code that waits with FFA_MSG_WAIT for ever."""


def test_without_a_registration_all_pes_begin_where_the_first_one_has(ffabric, tmp_path):
    image = tmp_path / "waits.bin"
    image.write_bytes(WAITS)
    spmc = trusted_os(name="spmc", image=image, protocol="ff-a", vcpus=2)
    system = ffabric.boot(vms=["kernel"], trusted_os=spmc, hypervisor=False, pes=2)
    comes_on(system)
    contexts = system.system.endpoint("spmc").partition.contexts
    assert [each.state for each in contexts] == [State.WAITING] * 2


# Its manifest.

CORE_MANIFEST = """/dts-v1/;
/ {
    compatible = "arm,ffa-core-manifest-1.0";
};
"""


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "spmc.dts"
    path.write_text(CORE_MANIFEST)
    return build_dtb(read_tree(path).root)


def test_it_finds_its_manifest_where_x0_says(boot, manifest):
    assert result(ask(boot(fw_config=manifest).vm("kernel").ffa, MANIFEST))[1] == DEVICETREE_MAGIC
    assert result(ask(boot().vm("kernel").ffa, MANIFEST))[1] == 0


def test_a_system_file_names_its_manifest(tmp_path, manifest):
    (tmp_path / "spmc.bin").write_bytes(IMAGE.read_bytes())
    system = tmp_path / "system.toml"
    system.write_text(
        """
        name = "own-spmc"
        hypervisor = false
        [trusted_os]
        name = "spmc"
        image = "spmc.bin"
        protocol = "ff-a"
        fw_config = "spmc.dts"
        [[vm]]
        name = "kernel"
        image = "spmc.bin"
        """
    )
    spec = read_system(system)
    assert spec.trusted_os is not None
    assert spec.trusted_os.fw_config == manifest


# SPs of its own.

SP_UUIDS = ("<0x11 0x22 0x33 0x44>", "<0x55 0x66 0x77 0x88>")


def tree_of(text, folder):
    path = folder / "tree.dts"
    path.write_text("/dts-v1/;\n" + text)
    return build_dtb(read_tree(path, []).root)


def package_of(uuid, folder, image=b"code"):
    manifest = tree_of(f"/ {{ uuid = {uuid}; }};", folder)
    header = struct.pack("<6I", MAGIC, 2, PAGE, len(manifest), 2 * PAGE, len(image))
    return header.ljust(PAGE, b"\0") + manifest.ljust(PAGE, b"\0") + image


def manifest_of(addresses, folder):
    nodes = "".join(
        f"sp{n} {{ uuid = {uuid}; load-address = <0 {address:#x}>; }};"
        for n, (uuid, address) in enumerate(zip(SP_UUIDS, addresses, strict=False))
    )
    text = f'/ {{ sps {{ compatible = "arm,sp_pkg"; {nodes} }}; }};'
    return tree_of(text, folder)


def test_packages_lie_where_the_manifest_of_the_spmc_says(boot, tmp_path):
    base = boot().system.spec.trusted_os.memory[0].pa
    places = (base + 0x10_0000, base + 0x10_3000)
    packages = tuple(package_of(uuid, tmp_path, uuid.encode()) for uuid in SP_UUIDS)
    system = boot(fw_config=manifest_of(places, tmp_path), packages=packages[::-1])
    memory = system.system.machine.memory
    for place, package in zip(places, packages, strict=True):
        assert memory.read(place, len(package), secure=True) == package


@pytest.mark.parametrize(
    ("offsets", "count", "message"),
    [
        ((), 1, "no node of fw_config below one that is 'arm,sp_pkg' has it"),
        ((0x10_0000,), 2, r"packages\[1\].*no node of fw_config"),
        ((0x10_0800,), 1, "load-address: .*not a multiple of 0x1000"),
        ((-0x1000,), 1, "0x2004 bytes there are not its memory"),
        ((0,), 1, "its image is there"),
        ((0x10_0000, 0x10_2000), 2, r"packages\[0\] is there"),
    ],
)
def test_a_package_that_has_no_place_is_refused(boot, tmp_path, offsets, count, message):
    base = boot().system.spec.trusted_os.memory[0].pa
    packages = tuple(package_of(uuid, tmp_path) for uuid in SP_UUIDS[:count])
    manifest = manifest_of([base + each for each in offsets], tmp_path)
    with pytest.raises(SystemErrors, match=message):
        boot(fw_config=manifest, packages=packages)


def test_a_package_that_is_none_is_refused(boot, tmp_path):
    with pytest.raises(SystemErrors, match="neither an SP package nor a transfer list"):
        boot(fw_config=manifest_of((), tmp_path), packages=(b"nothing",))


def test_a_system_file_names_packages(tmp_path):
    (tmp_path / "spmc.bin").write_bytes(IMAGE.read_bytes())
    (tmp_path / "spmc.dtb").write_bytes(manifest_of((0x0E20_0000,), tmp_path))
    (tmp_path / "sp.pkg").write_bytes(package_of(SP_UUIDS[0], tmp_path))
    (tmp_path / "system.toml").write_text(
        """
        hypervisor = false

        [[memory]]
        name = "secure"
        base = 0x0e000000
        size = "32 MiB"
        secure = true

        [[memory]]
        name = "normal"
        base = 0x40000000
        size = "64 MiB"

        [trusted_os]
        name = "spmc"
        image = "spmc.bin"
        protocol = "ff-a"
        fw_config = "spmc.dtb"
        packages = ["sp.pkg"]
        load_address = 0x0e100000
        mem_size = "4 MiB"

        [[vm]]
        name = "kernel"
        image = "spmc.bin"
        """
    )
    spec = read_system(tmp_path / "system.toml")
    assert spec.trusted_os is not None
    assert [address for address, _ in spec.trusted_os.packages] == [0x0E20_0000]


def test_sgis_of_the_secure_state_are_its_to_give_away(boot):
    """OP-TEE makes one of them its notification of the normal world."""
    secure = boot().system.machine.gic.private[0].modifier
    assert [secure >> intid & 1 for intid in (7, 8, 15)] == [0, 1, 1]


# Interrupts.


def test_it_makes_way_for_an_interrupt_of_the_normal_world(boot):
    system = boot()
    machine, ffa = system.system.machine, system.vm("kernel").ffa
    machine.gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=False)
    machine.gic.configure(5, 0, enabled=True, edge=True)
    machine.clock.at(machine.clock.now + 100_000, lambda: machine.gic.set_pending(5, 0))
    answer = ask(ffa, SPIN)
    assert answer[:3] == (fid.FFA_INTERRUPT, SPMC, 0)
    machine.gic.acknowledge(0, 5)
    machine.gic.deactivate(0, 5)
    assert result(ffa.call(fid.FFA_RUN, pack_ids(SPMC, 0)))[0] == 0


def test_its_own_interrupt_enters_it_when_nobody_calls(boot):
    system = boot()
    machine, ffa = system.system.machine, system.vm("kernel").ffa
    assert result(ask(ffa, INTERRUPTS))[0] == 0
    machine.gic.configure(INTID, enabled=True, edge=True, target=0, group=GROUP1S)
    machine.gic.set_pending(INTID)
    assert result(ask(ffa, INTERRUPTS))[0] == 1


# One that is gone.


def test_who_has_called_an_spmc_that_panics_hears_of_it(boot):
    ffa = boot().vm("kernel").ffa
    with pytest.raises(PartitionCrashed, match="spmc: waits for an interrupt for ever"):
        ask(ffa, PANIC)
    assert ask(ffa, WHO)[:8] == error(Status.ABORTED)
    assert ffa.call(fid.FFA_VERSION, 0x1_0000)[0] == NOT_SUPPORTED


def test_without_an_spmc_that_has_initialised_the_normal_world_boots(ffabric, tmp_path):
    image = tmp_path / "fails.bin"
    image.write_bytes(FAILS)
    spmc = trusted_os(name="spmc", image=image, protocol="ff-a")
    with pytest.raises(
        PartitionCrashed, match="its initialisation has failed: FFA_ERROR 0xfffffffe"
    ):
        ffabric.boot(vms=["kernel"], trusted_os=spmc, hypervisor=False, pes=1)


# What cannot be.


class Nobody:
    """A trusted OS in Python would be called with OP-TEE's ABI."""


@pytest.mark.parametrize(
    ("options", "system", "message"),
    [
        ({}, {"sps": [sp("adder")]}, "protocol: 'ff-a': the SPMC has SPs of its own, not adder"),
        ({}, {"hypervisor": True}, "protocol: 'ff-a': the normal world of an SPMC at S-EL1 is a"),
        ({"engine": "qemu"}, {}, "protocol: 'ff-a': an SPMC is an image that Unicorn executes"),
        (
            {"packages": (b"SPKG",)},
            {},
            "spmc: packages: where they lie is said in the SPMC's manifest: fw_config",
        ),
        (
            {"protocol": "optee", "fw_config": b"tree"},
            {},
            "spmc: fw_config: an SPMC has one: protocol = 'ff-a'",
        ),
        ({"fw_config": bytes(0x1_0001)}, {}, "spmc: fw_config: 65537 bytes, of 65536 at most"),
        (
            {"protocol": "ffa"},
            {},
            "protocol: 'ffa': a trusted OS has one of optee, ff-a (did you mean 'ff-a'?)",
        ),
    ],
)
def test_what_cannot_be_is_named(options, system, message):
    spmc = trusted_os(name="spmc", image=IMAGE, **{"protocol": "ff-a", **options})
    with pytest.raises(SystemErrors) as errors:
        describe(vms=[vm("kernel")], trusted_os=spmc, **{"hypervisor": False, **system})
    assert message in str(errors.value)
