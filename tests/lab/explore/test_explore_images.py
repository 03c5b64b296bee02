"""Schedules of systems with images are made one by one; those of a QEMU cannot be made."""

import shutil
from math import comb

import pytest

from ffabric.lab.explore.scenario import ScenarioError, read_scenario
from ffabric.lab.explore.schedule import play
from ffabric.lab.explore.search import explore

SCENARIO = """
from pathlib import Path

from ffabric import Partition, sp, vm


class Client(Partition):
    async def main(self, ffa):
        self.sums = [
            (await ffa.direct_request("adder", self.first, second)).payload[0]
            for second in (1, 2)
        ]


class First(Client):
    first = 10


class Second(Client):
    first = 20


def system():
    image = Path(__file__).with_name("adder.bin").read_bytes()
    return {{"sps": [sp("adder", image=image)], "vms": [First("one"), Second("two")]}}


def bell(system):
    pass


EVENTS = [bell]


def check(system, happened):
    {check}
"""
RIGHT = """for name, first in (("one", 10), ("two", 20)):
        software = system.system.endpoints[name].software
        assert software.sums == [first + 1, first + 2]"""
WRONG = 'assert "bell" not in happened, "the bell rang"'


@pytest.fixture
def scenario(tmp_path, request):
    """Two VMs that ask an image in the same moment, with what is to hold in the end."""
    images = request.config.rootpath / "src/ffabric/guests/images"
    shutil.copy(images / "adder_smc.bin", tmp_path / "adder.bin")

    def scenario(check, old="", new=""):
        path = tmp_path / "adders.py"
        text = SCENARIO.format(check=check)
        assert old in text
        path.write_text(text.replace(old, new), "utf-8")
        return read_scenario(path)

    return scenario


def test_every_schedule_with_up_to_so_many_departures_is_made(scenario):
    read = scenario(RIGHT)
    usual = play(read)
    others = sum(point.options - 1 for point in usual.points)

    found = explore(read, bound=1)
    assert (found.failure, found.complete, found.states) == ("", True, 0)
    assert found.schedules == 1 + others
    assert others >= comb(3, 2)


def test_what_breaks_it_is_found_and_made_again(scenario):
    read = scenario(WRONG)
    found = explore(read, bound=1)
    assert found.failure == "AssertionError: the bell rang"
    assert sum(map(bool, found.choices)) == 1
    assert play(read, found.choices).failure == found.failure
    assert not play(read).failure


def test_a_qemu_is_refused_by_name(scenario):
    read = scenario(RIGHT, 'sp("adder", image=image)', 'sp("adder", image=image, engine="qemu")')
    with pytest.raises(ScenarioError, match="QEMU executes adder in wall time"):
        explore(read)
