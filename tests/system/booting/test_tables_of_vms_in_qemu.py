"""VMs in QEMU are mapped with pages, but only if all that boots has its tables all the same."""

import re

import pytest

from ffabric.system.booting.boot import boot
from ffabric.system.description.toml.system import read_parsed
from ffabric.system.options.problems import SystemErrors

IDLE = bytes.fromhex("7f2003d5 ffffff17")  # wfi; b back to it
SIZE = 64 << 20


@pytest.fixture
def described(tmp_path):
    """The system of two VMs with so much memory for tables; nothing of it is started."""
    (tmp_path / "idle.bin").write_bytes(IDLE)

    def read(memory_size, engine="qemu"):
        vms = [
            {
                "name": f"vm{n}",
                "engine": engine,
                "image": "idle.bin",
                "image_offset": 0,
                "mem_size": SIZE,
            }
            for n in range(2)
        ]
        root = {"spmc": {"memory_size": memory_size}, "vm": vms}
        return read_parsed(root, tmp_path / "system.toml")

    return read


def least(described, engine="qemu"):
    """The least memory with which it is accepted."""
    with pytest.raises(SystemErrors) as refused:
        described(0x2000, engine)
    (need,) = re.findall(r"the hypervisor's tables take (0x[0-9a-f]+)", str(refused.value))
    return int(need, 16)


def levels(spec):
    """At which level each VM's memory is mapped; all of it is."""
    with boot(spec) as system:
        found = []
        for name in ("vm0", "vm1"):
            endpoint = system.endpoints[name]
            memory = endpoint.spec.memory[0]
            stage2 = endpoint.partition.stage2
            (run,) = stage2.runs(memory.ipa, memory.size >> 12)
            assert run[1:3] == (memory.pa, memory.size >> 12)
            found.append(stage2.level_of(memory.ipa))
        return found


def test_with_the_least_memory_for_tables_all_have_blocks_and_boot(described):
    assert levels(described(least(described))) == [2, 2]


def test_with_more_they_have_pages_one_after_the_other(described):
    enough = least(described)
    found = [levels(described(enough + (pages << 12))) for pages in range(0, 300, 30)]
    assert found[0] == [2, 2]
    assert found[-1] == [3, 3]
    assert found == sorted(found)


def test_vms_under_unicorn_have_blocks_however_much_there_is(described):
    pytest.importorskip("unicorn")
    assert levels(described(4 << 20, "unicorn")) == [2, 2]
