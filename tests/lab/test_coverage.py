"""Which basic blocks of images were executed."""

from __future__ import annotations

import shutil
import struct

import pytest

from ffabric.cli.errors import UsageError
from ffabric.cli.running.run import run
from ffabric.lab.coverage import Coverage
from ffabric.session.booting import boot
from ffabric.system.description.python import sp

SYSTEM = """
[[sp]]
name = "adder"
image = "adder.bin"

[[vm]]
name = "client"
image = "client.bin"
"""
FAILURE = 0xB4
"""Where client_hvc.bin comes to if its request is not answered."""


@pytest.fixture
def folder(tmp_path, request):
    images = request.config.rootpath / "src/ffabric/guests/images"
    shutil.copy(images / "adder_smc.bin", tmp_path / "adder.bin")
    shutil.copy(images / "client_hvc.bin", tmp_path / "client.bin")
    (tmp_path / "system.toml").write_text(SYSTEM, "utf-8")
    return tmp_path


def parse(data):
    """The modules of a drcov file, and its blocks."""
    head, _, rest = data.partition(b"BB Table: ")
    lines = head.decode().splitlines()
    assert lines[:2] == ["DRCOV VERSION: 2", "DRCOV FLAVOR: ffabric"]
    count, _, table = rest.partition(b" bbs\n")
    blocks = [*struct.iter_unpack("<IHH", table)]
    assert len(blocks) == int(count)
    modules = [[cell.strip() for cell in line.split(",")] for line in lines[4:]]
    assert lines[2] == f"Module Table: version 2, count {len(modules)}"
    return modules, blocks


def test_what_an_image_executes_is_written_by_module(folder):
    run(folder / "system.toml", coverage=folder / "c.drcov")
    modules, blocks = parse((folder / "c.drcov").read_bytes())
    assert [module[-1] for module in modules] == ["adder.bin", "client.bin"]
    size = (folder / "client.bin").stat().st_size
    assert int(modules[1][2], 16) - int(modules[1][1], 16) == size
    executed = {
        at for start, count, module in blocks if module == 1 for at in range(start, start + count)
    }
    assert 0 in executed
    assert FAILURE not in executed
    assert max(executed) < size


def test_a_raw_image_begins_at_offset_0_wherever_it_lies(folder):
    run(folder / "system.toml", coverage=folder / "c.drcov")
    _, blocks = parse((folder / "c.drcov").read_bytes())
    assert min(start for start, _, module in blocks if module == 0) == 0


def test_coverage_changes_nothing_of_a_run(folder):
    run(folder / "system.toml", coverage=folder / "c.drcov", trace=folder / "with")
    run(folder / "system.toml", trace=folder / "without")
    assert (folder / "with").read_bytes() == (folder / "without").read_bytes()


def test_a_system_without_images_has_no_coverage(folder):
    (folder / "system.toml").write_text('[[vm]]\nname = "a"\npython = "a.py:A"\n', "utf-8")
    (folder / "a.py").write_text(
        "from ffabric import Partition\nclass A(Partition):\n    pass\n", "utf-8"
    )
    with pytest.raises(UsageError, match="--coverage: no partition is an image that Unicorn"):
        run(folder / "system.toml", coverage=folder / "c.drcov")


def test_coverage_of_a_system_in_python(folder):
    sps = [sp("adder", image=folder / "adder.bin")]
    system = boot(sps=sps, vms=["client"], start=False)
    coverage = Coverage(system.system)
    system.run()
    before = coverage.modules[0].covered
    assert system.vm("client").ffa.direct_request("adder", 2, 3).payload[0] == 5
    (module,) = coverage.modules
    assert before < module.covered <= module.size
    system.close()
