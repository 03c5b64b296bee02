"""``ffabric linux``, and systems with a kernel in QEMU in ``ffabric run``."""

import json
import re
import shutil
from pathlib import Path

import pytest

from ffabric.abi.virtio_msg.ffa import BusFeatures
from ffabric.guests import images
from ffabric.lab.linux import own

OUTSIDER = Path(__file__).parents[2] / "images" / "outsider.bin"
SYSTEM = """\
hypervisor = false

[[vm]]
name = "kernel"
engine = "qemu"
image = "kernel.bin"
initrd = "files"
bootargs = "quiet"

[run]
stop_on = "ready"
"""


@pytest.fixture
def qemu():
    if shutil.which("qemu-system-aarch64") is None:
        pytest.fail("no QEMU: apt-get install qemu-system-arm")


def test_without_qemu_the_command_that_installs_it_is_said(run_afresh, packages, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    status, _, error = run_afresh("linux", "--packages", packages)
    assert (status, error) == (
        2,
        "ffabric: qemu-system-aarch64 is not installed: sudo apt-get install qemu-system-arm\n",
    )


def test_without_package_sources_the_folder_is_pointed_out(run_afresh, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    status, _, error = run_afresh("linux")
    assert status == 2
    assert "--packages" in error
    assert len(error.splitlines()) == 1


def test_a_folder_without_packages(run_afresh, tmp_path):
    status, _, error = run_afresh("linux", "--packages", tmp_path)
    assert (status, error) == (2, f"ffabric: {tmp_path}: there are no arm64 packages in it\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_told_with_the_file(run_afresh, packages, tmp_path):
    (tmp_path / "vmlinuz").symlink_to("/dev/full")
    status, _, error = run_afresh("linux", "--packages", packages, "--extract", tmp_path)
    assert (status, error) == (2, f"ffabric: {tmp_path}/vmlinuz: No space left on device\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--cpus", 0], "--cpus 0: 1 to 16"),
        (["--cpus", -1, "--pkvm"], "--cpus -1: 1 to 16"),
        (["--cpus", 17], "--cpus 17: 1 to 16"),
        (["--memory", 0], "--memory 0: at least 1"),
        (["--memory", -5], "--memory -5: at least 1"),
        (["--timeout", -1], "--timeout -1: at least 0"),
        (["--guest", "--pkvm"], "--guest: with --pkvm Linux is the hypervisor"),
        (
            ["--guest", "--op-tee", "python"],
            "--guest: VMs that run xtest are those of ffabric xtest --over ffa",
        ),
        (
            ["--op-tee", "Python"],
            "Python: there is no such file or folder (did you mean 'python'?)",
        ),
        (
            ["--spmc", "s-el1", "--op-tee", "python"],
            "--op-tee: such an OP-TEE is below an SPMC at s-el2, not at s-el1",
        ),
    ],
)
def test_numbers_and_names_that_make_no_sense_are_refused(run_afresh, arguments, line):
    assert run_afresh("linux", *arguments) == (2, "", f"ffabric: {line}\n")


def test_kernel_and_files_for_a_system_of_ones_own(run_afresh, packages, tmp_path):
    status, out, _ = run_afresh("linux", "--packages", packages, "--extract", tmp_path / "boot")
    assert status == 0
    assert (tmp_path / "boot/vmlinuz").read_bytes() == images.load("client_smc")
    assert (tmp_path / "boot/initrd").read_bytes().startswith(b"070701")
    assert "bootargs: console=ttyAMA0" in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--op-tee", "nowhere"], "nowhere: there is no such file or folder"),
        (["--op-tee", "."], ".: there is no core/tee-pager_v2.bin of OP-TEE in it"),
        (
            ["--pkvm", "--disk", "image", "--from", "vm"],
            "--pkvm: Linux is the hypervisor, and there are no other VMs: --from sp",
        ),
        (["--cases", "1001"], "--cases are run with an OP-TEE: say --op-tee, too"),
        (
            ["--op-tee", "python", "--cases", "1001,crypt"],
            "'crypt' is not the number of a case, such as 1001, or range of numbers",
        ),
    ],
)
def test_an_op_tee_that_cannot_be_is_refused_in_a_line(run_afresh, arguments, line):
    assert run_afresh("linux", *arguments) == (2, "", f"ffabric: {line}\n")


@pytest.mark.parametrize(
    "option", [["--from", "vm"], ["--generation", "pr28"], ["--fifo"]], ids=lambda each: each[0]
)
def test_what_is_of_disks_needs_a_disk(run_afresh, option):
    line = "ffabric: --from, --generation and --fifo are of disks: say --disk, too\n"
    assert run_afresh("linux", *option) == (2, "", line)


@pytest.mark.parametrize("generation", ["rfc2", "rfc1", "alpha"])
def test_a_fifo_is_no_thing_of_the_older_generations(run_afresh, generation):
    asked = ("--disk", "image", "--fifo", "--generation", generation)
    line = f"ffabric: --fifo: {generation} has no FIFO\n"
    assert run_afresh("linux", *asked) == (2, "", line)


@pytest.mark.parametrize("fifo", [True, False])
def test_the_device_side_of_disks_offers_a_fifo_if_it_is_to(tmp_path, fifo):
    (tmp_path / "disk.img").write_bytes(bytes(512))
    side = own.disks_side([tmp_path / "disk.img"], "v2", fifo=fifo)
    assert bool(BusFeatures(side.features).FIFO) == fifo
    assert BusFeatures(side.features).DIRECT_RX


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("odd.img", " has 100 bytes: no multiple of 512, a sector"),
        ("empty.img", " is empty"),
        ("packages", " is not a regular file"),
        ("none.img", ": No such file or directory"),
    ],
)
def test_a_disk_that_cannot_be_is_named_once(run_afresh, packages, tmp_path, image, reason):
    (tmp_path / "odd.img").write_bytes(bytes(100))
    (tmp_path / "empty.img").touch()
    status, _, error = run_afresh("linux", "--packages", packages, "--disk", image)
    assert (status, error) == (2, f"ffabric: {image}{reason}\n")


def test_an_op_tee_with_fewer_cores_than_linux_is_refused(run_afresh, tmp_path):
    settings = {
        "CFG_ARM64_core": "y",
        "CFG_CORE_SEL2_SPMC": "y",
        "CFG_TZDRAM_START": "0x0e304000",
        "CFG_TZDRAM_SIZE": "0x00cfc000",
        "CFG_TEE_CORE_NB_CORE": "2",
        "CFG_NUM_THREADS": "2",
    }
    (tmp_path / "conf.mk").write_text("".join(f"{key}={settings[key]}\n" for key in settings))
    (tmp_path / "tee-raw.bin").write_bytes(b"image")
    line = f"ffabric: {tmp_path}: 4 vCPUs: this OP-TEE has room for 2 (CFG_TEE_CORE_NB_CORE)\n"
    assert run_afresh("linux", "--op-tee", tmp_path, "--cpus", 4) == (2, "", line)


def test_a_kernel_that_is_not_linux_is_found_out(run_afresh, packages, tmp_path, qemu):
    (tmp_path / "adder.py").write_text(
        "from ffabric.guests.partition import Partition\n\n\n"
        "class Adder(Partition):\n"
        "    uuid = '5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11'\n\n"
        "    async def on_direct_request(self, request, ffa):\n"
        "        a, b, *_ = request.payload\n"
        "        return request.respond(a + b)\n"
    )
    trace = tmp_path / "linux.trace.jsonl"
    status, out, _ = run_afresh("linux", "adder.py:Adder", "--packages", packages, "--trace", trace)
    assert status == 1
    assert "FAILED: Linux did not get to 'init'" in out
    assert "FAILED: Linux does not see partition 0x8001 (5a7c6d2e" in out
    assert "calls that run an SP" in out
    assert re.search(r"^  replay +none: what QEMU executes takes wall time$", out, re.MULTILINE)
    assert (tmp_path / "linux.console.log").exists()
    assert trace.read_text().count('"0xc400006f"') >= 64


def printing(text, *, version=False):
    """A kernel that prints a text, negotiates a version of FF-A if it is to, and powers off."""
    call = (0x5280_0C60, 0x72B0_8000, 0x5280_0041, 0x72A0_0021, 0xD400_0003)
    code = [
        0,  # adr x1, text
        0xD2A1_2002,  # mov x2, #0x09000000
        0x3840_1423,  # 1: ldrb w3, [x1], #1
        0x3400_0063,  # cbz w3, 2f
        0x3900_0043,  # strb w3, [x2]
        0x17FF_FFFD,  # b 1b
        *(call if version else ()),  # 2: mov w0, FFA_VERSION; mov w1, 1.2; smc #0
        0x5280_0100,  # mov w0, SYSTEM_OFF
        0x72B0_8000,
        0xD400_0003,  # smc #0
    ]
    code[0] = 0x1000_0001 | len(code) << 5
    words = b"".join(word.to_bytes(4, "little") for word in code)
    return words + f"Linux version 7.9 \n{text}".encode() + bytes(4096)


BOOTED = "ffabric: kernel 7.9\nffabric: init 1.0\nffabric: probed 2.0\nffabric: done 3.0\n"
SILENT = "FAILED: Linux has made no call of FF-A: its kernel has no driver of it"
UNPROTECTED = "FAILED: Linux is not a protected hypervisor: there is no /dev/kvm"


@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize(
    ("options", "version", "causes"),
    [
        ([], True, []),
        ([], False, [SILENT]),
        (["talker.py:Talker"], False, [SILENT]),
        (["--pkvm"], True, [UNPROTECTED]),
        (["--pkvm"], False, [SILENT, UNPROTECTED]),
    ],
)
def test_a_kernel_without_ffa_or_pkvm_is_named(run_afresh, packages, options, version, causes):
    Path("talker.py").write_text(
        "from ffabric import Partition\n\n\nclass Talker(Partition):\n"
        "    uuid = '5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11'\n"
    )
    Path("Image").write_bytes(printing(BOOTED, version=version))
    arguments = "--packages", packages, "--kernel", "Image"
    status, out, _ = run_afresh("linux", *options, *arguments)
    failed = [line for line in out.splitlines() if line.startswith("FAILED")]
    assert status == bool(causes)
    assert len(failed) == len(causes)
    assert all(map(str.startswith, failed, causes))


@pytest.mark.parametrize("guest", [True, False])
def test_a_guest_is_a_vm_with_a_vmm(run_afresh, packages, qemu, guest):
    Path("Image").write_bytes(printing(BOOTED, version=True))
    arguments = "--packages", packages, "--kernel", "Image", *(["--guest"] if guest else [])
    status, out, _ = run_afresh("linux", *arguments, "--trace", "trace")
    assert status == 0
    assert ("NPIs that its VMM has raised" in out) == guest
    header = json.loads(Path("trace").read_text().splitlines()[0])
    assert header["endpoints"]["linux"] == hex(guest)


@pytest.mark.parametrize("spmc", ["s-el1", "el3"])
def test_a_kernel_above_an_spmc_elsewhere_calls_its_sp(run_afresh, packages, tmp_path, qemu, spmc):
    (tmp_path / "adder.py").write_text(
        "from ffabric import Partition\n\n\n"
        "class Adder(Partition):\n"
        "    async def on_direct_request(self, request, ffa):\n"
        "        a, b, *_ = request.payload\n"
        "        return request.respond(a + b)\n"
    )
    trace = tmp_path / "linux.trace.jsonl"
    run_afresh("linux", "adder.py:Adder", "--spmc", spmc, "--packages", packages, "--trace", trace)
    text = trace.read_text()
    assert text.count('"0xc400006f"') >= 64
    assert text.count('"0xc4000070"') >= 64


def test_a_kernel_in_a_system_of_ones_own(run_afresh, tmp_path, qemu):
    (tmp_path / "kernel.bin").write_bytes(OUTSIDER.read_bytes())
    (tmp_path / "files").write_bytes(b"files")
    (tmp_path / "system.toml").write_text(SYSTEM.replace("false", "false\npes = 2"))
    status, out, _ = run_afresh("run", "system.toml", "--trace", "run.trace.jsonl")
    assert status == 0
    assert "kernel: hello" in out
    assert "kernel has printed 'ready'" in out
    assert re.search(r"^  replay +none: what QEMU executes takes wall time$", out, re.MULTILINE)
    status, _, error = run_afresh("run", "system.toml", "--replay", "run.trace.jsonl")
    assert status == 2
    assert "never the same again" in error


def test_files_of_a_kernel_are_only_for_images(run_afresh, tmp_path):
    (tmp_path / "kernel.py").write_text(
        "from ffabric import Partition\n\nclass Kernel(Partition):\n    pass\n"
    )
    python = SYSTEM.replace('engine = "qemu"\n', "").replace(
        'image = "kernel.bin"', 'python = "kernel.py:Kernel"'
    )
    (tmp_path / "system.toml").write_text(python)
    status, _, error = run_afresh("run", "system.toml")
    assert status == 2
    assert error.count("only with an image") == 2
