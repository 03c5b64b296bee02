"""A description with one mistake: it is the first that is told, and nothing that follows from it.

A sound system is broken in one value after the other.
"""

import copy
import tomllib
from pathlib import Path

import pytest

from ffabric.system.description.toml.system import read_parsed
from ffabric.system.options.problems import SystemErrors

IMAGE = Path(__file__).parents[2] / "images" / "board_kernel.bin"
SOUND = tomllib.loads(f"""
pes = 2
primary_vm = "first"
[[memory]]
name = "secure"
base = 0x20000000
size = "64 MiB"
secure = true
[[memory]]
name = "normal"
base = 0x880000000
size = "1 GiB"
secure = false
[[device]]
name = "uart"
type = "pl011"
base = 0x1c090000
interrupt = 33
[[sp]]
name = "fixed"
python = "ffabric:Partition"
load_address = 0x20000000
mem_size = "2 MiB"
[sp.properties.memory-regions.buffer]
base-address = 0x20800000
pages-count = 4
attributes = 3
[sp.properties.device-regions.device]
base-address = 0x1c0b0000
pages-count = 1
attributes = 3
[[sp]]
name = "image"
image = "{IMAGE}"
load_address = 0x20400000
mem_size = "1 MiB"
[[sp]]
name = "floating"
python = "ffabric:Partition"
[[vm]]
name = "first"
python = "ffabric:Partition"
load_address = 0x40000000
mem_size = "4 MiB"
[[vm]]
name = "placed"
python = "ffabric:Partition"
physical_address = 0x890000000
""")
FIXED = ("sp", 0)
BUFFER = (*FIXED, "properties", "memory-regions", "buffer")
DEVICE = (*FIXED, "properties", "device-regions", "device")
UNALIGNED = ("x", -1, 1, 0x800, 0x2000_0800, True, [], {})
BEYOND = (1 << 48, (1 << 64) - 0x1000)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (("pes",), (0, 300, "x")),
        (("memory", 0, "base"), (*UNALIGNED, 0x8_9000_0000, *BEYOND)),
        (("memory", 0, "size"), (*UNALIGNED, 0)),
        (("memory", 0, "secure"), ("yes", 1)),
        (("memory", 1, "base"), (*UNALIGNED, 0x2300_0000, *BEYOND)),
        (("memory", 1, "size"), (*UNALIGNED, 0)),
        (("device", 0, "base"), (*UNALIGNED, 0x2000_0000, 0x8_8000_0000, *BEYOND)),
        (("device", 0, "interrupt"), (5, 1020, 9999, "x")),
        (("device", 0, "type"), (3, "pl012")),
        ((*FIXED, "python"), (3, "nowhere", "nowhere:Class", "ffabric:Partitio")),
        ((*FIXED, "load_address"), (*UNALIGNED, 0x4000_0000, 0x2300_0000 + 0xF0_0000, *BEYOND)),
        ((*FIXED, "mem_size"), (*UNALIGNED, 0)),
        ((*FIXED, "physical_address"), (*UNALIGNED, 0x4000_0000)),
        ((*FIXED, "vcpus"), (0, 3, "x")),
        ((*BUFFER, "base-address"), (*UNALIGNED, 0x2000_0000, 0x4000_0000, *BEYOND)),
        ((*BUFFER, "pages-count"), (0, "x", 1 << 20)),
        ((*BUFFER, "attributes"), (0x1000, "x")),
        ((*DEVICE, "base-address"), (*UNALIGNED, 0x2000_0000, *BEYOND)),
        (("sp", 1, "image"), ("none.bin", 3)),
        (("sp", 1, "load_address"), (*UNALIGNED, 0x4000_0000)),
        (("sp", 1, "image_offset"), (0x800, 0x10_0000)),
        (("vm", 0, "python"), (3, "nowhere")),
        (("vm", 0, "load_address"), (*UNALIGNED, *BEYOND)),
        (("vm", 1, "physical_address"), (*UNALIGNED, 0, 0x2000_0000, 1 << 47, *BEYOND)),
    ],
    ids=lambda each: ".".join(map(str, each)) if isinstance(each[-1], str) else "",
)
def test_one_mistake_is_one_line_that_names_its_key(path, values):
    assert read_parsed(SOUND, Path("s.toml")).pes == 2
    for value in values:
        with pytest.raises(SystemErrors) as caught:
            read_parsed(changed(path, value), Path("s.toml"))
        lines = str(caught.value).splitlines()
        assert len(lines) == 1, (value, lines)
        assert any(name in lines[0] for name in names(path)), (value, lines)


def changed(path, value):
    """The sound system with another value at a place."""
    root = copy.deepcopy(SOUND)
    table = root
    for step in path[:-1]:
        table = table[step]
    table[path[-1]] = value
    return root


def names(path):
    """What a line may call a place: its key as the file or the manifest has it, or its region."""
    key = str(path[-1])
    region = (
        [f"]] fixed: {path[-2]}: ", "/pages-count", "pages-count"] if "properties" in path else []
    )
    return [f": {key}: ", "execution-ctx-count" if key == "vcpus" else key, *region,
            *(["image: "] if key == "image_offset" else [])]  # fmt: skip
