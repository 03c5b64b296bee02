"""A driver in C, from the texts alone, as an AArch64 image: it drives our disks."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ffabric import vm
from ffabric.abi.virtio_msg.generations import GenerationName
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe
from ffabric.virtio import devices

FOLDER = Path(__file__).parent
COMPILER = "aarch64-linux-gnu-gcc"
FLAGS = (
    *("-Os", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-nostdlib", "-static"),
    *(
        "-fno-pic",
        "-mcmodel=small",
        "-mstrict-align",
        "-mgeneral-regs-only",
        "-fno-stack-protector",
    ),
    *("-fno-builtin", "-fno-asynchronous-unwind-tables", "-Wl,--build-id=none", "-Wl,-T,driver.ld"),
)
FORMS = {"v2": (), "pr28": ("-DPR28",)}


@pytest.fixture(scope="module", params=FORMS)
def built(request, tmp_path_factory):
    """The image in one wire form, and the name of that."""
    if shutil.which(COMPILER) is None:
        pytest.fail(f"no {COMPILER}: apt-get install gcc-aarch64-linux-gnu")
    linked = tmp_path_factory.mktemp("image") / "driver.elf"
    defined = FORMS[request.param]
    command = [COMPILER, *FLAGS, *defined, "-o", linked, "driver.c"]
    subprocess.run(command, cwd=FOLDER, check=True)
    image = linked.with_suffix(".bin")
    subprocess.run(["aarch64-linux-gnu-objcopy", "-O", "binary", linked, image], check=True)
    return image.read_bytes(), request.param


def run(image, side):
    """What the image says, until it is off."""
    said = []
    driver = vm(name="image", image=image, mem_size=1 << 20, notification_support=True)
    with boot(describe(sps=[side], vms=[driver])) as system:
        system.listeners.append(lambda name, line: said.append((name, line)))
        system.run()
    return [line for name, line in said if name == "image"]


@pytest.mark.parametrize("before", [0, 3])
def test_a_disk_is_written_flushed_and_read_back(built, before):
    image, form = built
    disk = devices.BlockDevice(bytearray(64 << 10))
    others = [devices.RngDevice() for _ in range(before)]
    side = DeviceSide([*others, disk], generation=form)
    assert run(image, side) == [
        "device side found",
        f"disk: {before}",
        "sectors: 128",
        "written",
        "flushed",
        "read back",
        "done",
    ]
    assert bytes(disk.data[-512:]) == bytes((at * 31 + 7) & 0xFF for at in range(512))
    assert disk.flushes == 1


def test_where_there_is_no_disk_it_says_so(built):
    image, form = built
    side = DeviceSide([devices.RngDevice()], generation=form)
    assert run(image, side)[-1] == "wrong: there is no disk"


def test_a_disk_that_fails_is_told(built):
    image, form = built
    disk = devices.BlockDevice(bytearray(512), read_only=True)
    said = run(image, DeviceSide([disk], generation=form))
    assert said[-1] == "wrong: the request failed"


def test_another_generation_is_noticed(built):
    image, form = built
    other: GenerationName = "pr28" if form == "v2" else "v2"
    side = DeviceSide([devices.BlockDevice(bytearray(512))], generation=other)
    assert run(image, side)[-1] == "wrong: GET_DEVICES: window"
