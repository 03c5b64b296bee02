"""A system that is accepted boots: whatever the machine cannot do is a line before that."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.machine.limits import PA_END
from ffabric.system.booting.boot import boot
from ffabric.system.description.toml.system import read_parsed
from ffabric.system.options.problems import SystemErrors

EDGES = (
    0,
    0x0600_0000,  # secure memory
    0x2F00_0000,  # the GIC's distributor
    0x2F10_0000,  # its redistributors
    0x4000_0000,  # a VM's memory
    0x8000_0000,  # non-secure memory
    0xBF80_0000,  # the hypervisor's tables
    0xFF80_0000,  # the SPMC's tables
    0x40_0000_0000,  # where retrieved memory appears in a VM
    0x80_0000_0000,
    1 << 40,
    1 << 47,
    0xFF00_0000_0000,  # where physical addresses end
    1 << 48,
    1 << 63,
)
NEAR = (-0x20_0000, -0x1_0000, -0x1000, 0, 0x1000, 0x1_0000, 0x20_0000, 0x1000_0000)

addresses = st.builds(lambda edge, near: max(0, edge + near), *map(st.sampled_from, (EDGES, NEAR)))


def mostly(usual: Sequence[Any], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values as systems have them, and now and then an odd one."""
    return st.integers(0, 7).flatmap(lambda die: odd if die == 7 else st.sampled_from(usual))


sizes = mostly(
    [0x1000, 0x3000, 0x1_0000, 0x20_0000, 0x40_1000, 0x100_0000],
    st.builds(lambda bits, more: (1 << bits) + more, st.integers(0, 63), st.integers(-1, 1)),
)
pages = mostly([1, 2, 3], st.sampled_from([0, 16, 512, 1 << 18, 0xFFFF_FFFF]))
attributes = st.sampled_from([1, 3, 9, 0xB])
vcpus = mostly([1], st.sampled_from([0, 2, 4, 256, 257, 0xFFFF]))
names = mostly(["r", "s"], st.sampled_from(["", "a b", "a/b"]))


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


region = st.fixed_dictionaries(
    {"pages-count": pages, "attributes": attributes}, optional={"base-address": addresses}
)
device_region = st.fixed_dictionaries(
    {"pages-count": pages, "attributes": attributes, "base-address": addresses},
    optional={
        "exclusive-access": st.just(value=True),
        "interrupts": mostly([[40, 0x900], [20, 0]], st.just([5000, 0])),
    },
)
properties = some(
    **{
        "xlat-granule": st.integers(0, 2),
        "memory-regions": st.dictionaries(names, region, max_size=2),
        "device-regions": st.dictionaries(names, device_region, max_size=2),
    }
)
partition = some(load_address=addresses, mem_size=sizes, vcpus=vcpus, properties=properties)
virtual_machine = some(
    load_address=addresses,
    mem_size=sizes,
    vcpus=vcpus,
    properties=properties,
    physical_address=addresses,
)
device = st.fixed_dictionaries(
    {"type": st.sampled_from(["pl011", "generic_watchdog", "generic_timer"]), "base": addresses},
    optional={
        "size": sizes,
        "interrupt": mostly([32, 40, 1019, 5119], st.sampled_from([0, 20, 1020])),
    },
)
bank = st.fixed_dictionaries({"base": addresses, "size": sizes}, optional={"secure": st.booleans()})
usual = [
    {"base": 0x0600_0000, "size": 0x200_0000, "secure": True},
    {"base": 0xFD00_0000, "size": 0x300_0000, "secure": True},
    {"base": 0x8000_0000, "size": 0x4000_0000},
]
systems = some(
    pes=mostly([1, 2, 4], st.sampled_from([0, 256, 257])),
    hypervisor=st.booleans(),
    spmc=some(memory_size=sizes),
    memory=st.lists(bank, max_size=2).map(lambda banks: [*usual, *banks]),
    sp=st.lists(partition, max_size=2),
    vm=st.lists(virtual_machine, max_size=2),
    device=st.lists(device, max_size=2),
    gic=some(distributor=addresses, redistributors=addresses),
)


IDLE = bytes.fromhex("7f2003d5 ffffff17")  # wfi; b back to it


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "idle.bin"
    path.write_bytes(IDLE)
    return path


def named(root: dict[str, Any], image: Path) -> dict[str, Any]:
    """The system with names for its tables, and an image that waits for its partitions.

    The image is at the start of the memory, so that a small memory can hold it.
    """
    for kind in ("sp", "vm"):
        for number, table in enumerate(root.get(kind, ())):
            table |= {"name": f"{kind}{number}", "image": str(image), "image_offset": 0}
    for number, table in enumerate(root.get("device", ())):
        table["name"] = f"device{number}"
    return root


@given(systems)
@settings(max_examples=200, deadline=None)
def test_what_is_accepted_boots(idle: Path, root: dict[str, Any]) -> None:
    try:
        spec = read_parsed(named(root, idle), Path("system.toml"))
    except SystemErrors:
        return
    with boot(spec) as system:
        system.run()


@pytest.mark.parametrize("base", [1 << 40, 0x8800_0000_0000, PA_END - 0x1000_0000])
def test_memory_is_wherever_physical_addresses_reach(idle: Path, base: int) -> None:
    banks = [*usual, {"base": base, "size": 0x1000_0000}]
    with boot(read_parsed(named({"memory": banks, "vm": [{}]}, idle), Path("s.toml"))) as system:
        system.run()
        system.machine.memory.write64(base, 7, secure=False)
        assert system.machine.memory.read64(base, secure=False) == 7


def test_memory_beyond_that_is_refused(idle: Path) -> None:
    banks = [*usual, {"base": PA_END - 0x1000_0000, "size": 0x1000_1000}]
    with pytest.raises(
        SystemErrors, match="it ends at 0xff0000001000, addresses at 0xff0000000000"
    ):
        read_parsed(named({"memory": banks}, idle), Path("s.toml"))
