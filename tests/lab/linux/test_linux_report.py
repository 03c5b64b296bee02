"""What Linux says on its console, and what is made of it."""

from array import array
from uuid import UUID

import pytest

from ffabric.abi import psci, smccc
from ffabric.abi.ffa import functions as fid
from ffabric.guests import images
from ffabric.guests.partition import Partition
from ffabric.lab.linux import initramfs, pkvm, run, software
from ffabric.lab.linux.kernel import Kernel
from ffabric.lab.linux.report import Report, Tee
from ffabric.machine.engines.qemu.runner import QemuRunner
from ffabric.system.options.problems import SystemErrors

OPTEE = (0x8001, "486178e0-e7f8-11e3-bc5e-0002a5d5c51b")
CONSOLE = """\
[    0.1] something of the kernel's
ffabric: kernel 7.2.11+deb13-cloud-arm64
ffabric: cpus 2
ffabric: init 0.90
ffabric: probed 1.06
ffabric: log ARM FF-A: Driver version 1.2
ffabric: partition 0x8001 486178e0-e7f8-11e3-bc5e-0002a5d5c51b
ffabric: partition 0x0000 00000000-0000-0000-0000-000000000000
ffabric: sri   14:         20          2  GICv3       8 Edge      ARM-FFA-SRI
ffabric: tee 00000000 2000 200 468 4377 88999
ffabric: done 1.51
"""


@pytest.fixture
def kernel():
    return Kernel(
        release="7.9",
        image=images.load("client_smc"),
        modules={"ffa-core": b"core", "ffa-module": b"module", "tee": b"tee", "optee": b"optee"},
        busybox=b"busybox",
        packages=(),
    )


def reported(console):
    report = Report()
    for line in console.splitlines():
        report.line(line)
    return report


def test_a_run_in_which_all_is_well():
    report = reported(CONSOLE)
    assert report.problems([OPTEE], tee=True) == []
    assert report.kernel == "7.2.11+deb13-cloud-arm64"
    assert report.reached["probed"][1] == 1.06
    assert report.tee == Tee(0, 2000, 200, 46.8, 437.7, 8899.9)
    assert report.notified == 22


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("ffabric: done 1.51", "", "Linux did not get to 'done'"),
        ("partition 0x8001", "partition 0x8003", "Linux does not see partition 0x8001"),
        ("ffabric: tee 00000000 2000 200 468 4377 88999", "", "Linux has no TEE"),
        ("        20          2 ", "         0 ", "Linux was not interrupted"),
        ("tee 00000000", "tee ffff0008", "opening a session failed: 0xffff0008"),
        (" 2000 200 ", " 1999 200 ", "1999 and 200 of (2000, 200) invocations"),
        ("ffabric: cpus 2", "ffabric: failed insmod tee", "insmod tee"),
        ("partition 0x8001", "partition what", "not understood: ffabric: partition what"),
        ("tee 00000000 2000 200 468 4377 88999", "tee 00000000", "not understood"),
    ],
)
def test_what_is_wrong_is_said(before, after, problem):
    problems = reported(CONSOLE.replace(before, after)).problems([OPTEE], tee=True)
    assert any(problem in each for each in problems)


def test_the_initial_file_system_has_all_that_its_first_process_needs(kernel):
    archive = initramfs.build(kernel)
    for name in (b"init", b"bin/busybox", b"bin/teeloop", b"bin/insmod", b"lib/modules/optee.ko"):
        assert name + b"\0" in archive
    assert b"for module in ffa-core ffa-module tee optee; do" in archive
    assert b"grep -q ffabric.shell /proc/cmdline" in archive


def test_the_system_is_the_kernel_and_the_sps(kernel):
    spec = run.system(kernel, software.default_software(2), cpus=2, shell=True)
    assert [sp.name for sp in spec.sps] == ["optee", "echo"]
    linux = spec.vms[0]
    assert (linux.engine, linux.vcpus, spec.hypervisor) == ("qemu", 2, None)
    assert linux.kernel.bootargs.endswith("ffabric.shell")


@pytest.mark.parametrize(
    ("spmc", "levels"),
    [
        ("s-el2", {"optee": "S_EL1", "echo": "S_EL1"}),
        ("el3", {"optee": "S_EL1", "echo": "S_EL0"}),
        ("s-el1", {"echo": "S_EL0"}),
    ],
)
def test_an_spmc_at_any_level_has_software_of_its_own(kernel, spmc, levels):
    spec = run.system(kernel, software.default_software(2, spmc), cpus=2, spmc=spmc)
    assert {sp.name: sp.manifest.exception_level.name for sp in spec.sps} == levels


class Upper(Partition):
    manifest = {"exception_level": 2}  # noqa: RUF012


def test_an_sp_that_says_where_it_runs_is_told_that_it_cannot(kernel):
    upper = Upper()
    assert software.placed(upper, "s-el1") is upper
    with pytest.raises(SystemErrors, match="upper: exception-level: S_EL1: an SPMC at s-el1"):
        run.system(kernel, [upper], spmc="s-el1")
    assert run.system(kernel, [upper], spmc="el3").sps[0].manifest.exception_level.name == "S_EL1"


def test_the_program_has_the_ta_that_it_asks_for():
    program = (initramfs.resources.files(initramfs.__package__) / "teeloop.bin").read_bytes()
    assert program.startswith(b"\x7fELF")
    assert UUID(software.Adder.uuid).bytes in program


def test_quantiles():
    assert run.quantile([], 0.5) == 0
    assert run.quantile([1, 2, 3, 4], 0.5) == 3
    assert run.quantile([1, 2, 3, 4], 1) == 4


# As a protected hypervisor


def test_a_protected_hypervisor_hides_notifications():
    text = CONSOLE.replace("        20          2 ", "         0 ")
    assert reported(text).problems([OPTEE], tee=True, notified=False) == []


def test_a_protected_kernel_is_entered_at_el2(kernel):
    linux = run.system(kernel, [], cpus=2, protected=True).vms[0]
    assert linux.el == 2
    assert linux.kernel.bootargs.endswith("kvm-arm.mode=protected")
    assert run.system(kernel, []).vms[0].el == 1


class Calls(QemuRunner):
    """Of a runner, the calls that were made alone."""

    functions = array("I")

    def __init__(self, functions):
        self.functions = array("I", functions)


class Vcpu:
    """A vCPU in QEMU that has made these calls."""

    def __init__(self, *functions):
        self.runner = Calls(functions)


class Linux:
    """As much of a partition as is looked at."""

    def __init__(self, *contexts):
        self.contexts = contexts


SHARE, RETRIEVE, RECLAIM = (
    fid.FFA_MEM_SHARE_64,
    fid.FFA_MEM_RETRIEVE_REQ_64,
    fid.FFA_MEM_RECLAIM,
)


@pytest.mark.parametrize(
    ("vcpus", "speaks"),
    [
        ([], False),
        ([Vcpu()], False),
        ([Vcpu(psci.CPU_ON_64, smccc.SMCCC_VERSION, smccc.TRNG_RND_64, 0x8400_005F)], False),
        ([Vcpu(psci.CPU_ON_64), Vcpu(fid.FFA_VERSION)], True),
        ([Vcpu(psci.CPU_ON_64, fid.FFA_MEM_SHARE_64)], True),
    ],
)
def test_a_kernel_without_a_driver_of_ffa_makes_no_call_of_it(vcpus, speaks):
    assert run.speaks_ffa(Linux(*vcpus)) == speaks  # type: ignore[arg-type]


PROTECTED = "ffabric: kvm Protected hVHE mode initialized successfully\n"


def test_its_el2_retrieves_before_it_reclaims():
    calls = pkvm.Calls(Linux(Vcpu(SHARE, RETRIEVE), Vcpu(SHARE, RECLAIM)))  # type: ignore[arg-type]
    assert (calls.shared, calls.retrieved, calls.reclaimed) == (2, 1, 1)
    assert pkvm.problems(reported(PROTECTED), calls) == []
    told = dict(pkvm.rows(reported(PROTECTED), calls))
    assert told["KVM says"] == "Protected hVHE mode initialized successfully"


@pytest.mark.parametrize(
    ("console", "functions", "problem"),
    [
        ("", [], "Linux is not a protected hypervisor: there is no /dev/kvm"),
        (
            "ffabric: kvm VHE mode initialized successfully\n",
            [RETRIEVE, RECLAIM],
            "Linux is not a protected hypervisor: VHE mode initialized successfully",
        ),
        (PROTECTED, [SHARE, RETRIEVE], "Linux has reclaimed no memory"),
        (PROTECTED, [SHARE, RECLAIM], "1 reclaims, but 0 retrieves before them"),
    ],
)
def test_a_hypervisor_that_does_not_protect_itself_is_found_out(console, functions, problem):
    calls = pkvm.Calls(Linux(Vcpu(*functions)))  # type: ignore[arg-type]
    assert pkvm.problems(reported(console), calls) == [problem]
